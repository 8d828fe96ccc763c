"""The labels layer that a session writes to.

A moving slider rewrites the layer's own array in place, many times a second. What a user has
painted, filled or picked in the layer is never overwritten: the edited layer is put aside under
a new name, and writing goes on in a new layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_del.widgets._session import Session, Settings
from napari_del.widgets._source import Source

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["Output"]

# What a user has set on a layer and expects to see on the layer that takes its place.
_APPEARANCE = ("opacity", "blending", "colormap", "contour", "metadata")


class Output:
    """A labels layer in a viewer that shows the regions of a session.

    Parameters
    ----------
    viewer : napari.Viewer
        The layer is added to it.
    source : Source
        Gives the shape and place of the layer.
    session : Session
        Gives the regions; its labels are prepared by `prepare_labels`.
    labels : int32 (Y, X)
        Labels of the session's settings, computed beforehand in the background.
    name : str
        Name of the layer.

    Attributes
    ----------
    layer : napari.layers.Labels
        The layer in use; another one after edits were put aside.
    session : Session
        The session in use.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        source: Source,
        session: Session,
        labels: NDArray[np.int32],
        name: str,
    ) -> None:
        self._viewer = viewer
        self._source = source
        self.session = session
        self.layer = self._add(labels, name, opacity=0.5)
        self._written: Settings = session.settings

    @property
    def in_viewer(self) -> bool:
        """Whether the layer is still in the viewer."""
        return self.layer in self._viewer.layers

    @property
    def is_stale(self) -> bool:
        """Whether the session has other settings than those the layer shows."""
        return self._written != self.session.settings

    def rewrite(self) -> Labels | None:
        """Write the labels of the session's settings into the layer.

        Returns
        -------
        napari.layers.Labels or None
            The layer that was put aside because a user had edited it.
        """
        aside = self._put_edits_aside()
        self.session.labels(out=self._plane)
        self._show()
        return aside

    def replace(self, session: Session, labels: NDArray[np.int32]) -> Labels | None:
        """Show the result of another run in the same layer.

        Parameters
        ----------
        session : Session
            Of the new run.
        labels : int32 (Y, X)
            Its labels.

        Returns
        -------
        napari.layers.Labels or None
            The layer that was put aside because a user had edited it.
        """
        aside = self._put_edits_aside()
        self.session = session
        self._plane[:] = labels
        self._show()
        return aside

    def is_edited(self) -> bool:
        """Whether the layer holds anything else than what was written to it."""
        if not self._touched:
            return False
        data = self.layer.data
        if data is not self._array and data.shape != self._array.shape:
            return True
        written = self.session.labels(settings=self._written)
        return not np.array_equal(np.asarray(data).reshape(written.shape), written)

    @property
    def _plane(self) -> NDArray[np.int32]:
        return self._array.reshape(self._array.shape[-2:])

    def _add(self, labels: NDArray[np.int32], name: str, **appearance: Any) -> Labels:
        self._array = labels.reshape(self._source.shape)
        layer = Labels(self._array, name=name, **self._source.placement)
        for key, value in appearance.items():
            setattr(layer, key, value)
        # Any of these may mean an edit; which of them do is found out when it matters, by
        # comparing. Other plugins change the array and call refresh().
        for event in (layer.events.paint, layer.events.data, layer.events.set_data):
            event.connect(self._on_touched)
        self._viewer.add_layer(layer)
        self._touched = False
        return layer

    def _on_touched(self, event: Any = None) -> None:
        self._touched = True

    def _put_edits_aside(self) -> Labels | None:
        if not self.is_edited():
            if self._touched:
                self._forget_history()
            if self.layer.data is not self._array:
                self.layer.data = self._array
            return None
        edited, name = self.layer, self.layer.name
        for event in (edited.events.paint, edited.events.data, edited.events.set_data):
            event.disconnect(self._on_touched)
        edited.name = f"{name} (edited)"
        edited.visible = False
        appearance = {key: getattr(edited, key) for key in _APPEARANCE}
        self.layer = self._add(np.zeros_like(self._plane), name, **appearance)
        return edited

    def _forget_history(self) -> None:
        # Undo would paste pixels of an earlier result into this one. napari clears the history
        # of a layer that becomes read-only; there is no other public way.
        mode = self.layer.mode
        self.layer.editable = False
        self.layer.editable = True
        self.layer.mode = mode

    def _show(self) -> None:
        self._written = self.session.settings
        self.layer.refresh(extent=False)
        self._touched = False
