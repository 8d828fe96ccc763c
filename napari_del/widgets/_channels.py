"""Choice of channels: boxes to tick for a few, a list of numbers for many."""

from __future__ import annotations

import re

from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLineEdit, QStackedWidget, QWidget
from superqt.utils import QFlowLayout

from napari_del.errors import ParameterError

__all__ = ["ChannelPicker", "parse_channels"]

_MOST_BOXES = 8


def parse_channels(text: str, n: int) -> tuple[int, ...] | None:
    """Channel numbers from a text such as "0, 2, 5-7".

    Parameters
    ----------
    text : str
        Numbers from 0 and ranges with both ends included; empty for all channels.
    n : int
        Number of channels there are.

    Returns
    -------
    tuple of int, or None
        Ascending, without repeats; None for all channels.

    Raises
    ------
    ParameterError
        If a part is neither a number nor a range of channels that exist.

    Examples
    --------
    >>> parse_channels("5-7, 0", 10)
    (0, 5, 6, 7)
    """
    if not text.strip():
        return None
    channels: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < n:
            raise ParameterError(
                f"channels contain {part.strip()!r}; expected numbers and ranges from 0 to "
                f"{n - 1}, such as '0, 2, 5-7'"
            )
        channels.update(range(first, last + 1))
    return tuple(sorted(channels))


class ChannelPicker(QStackedWidget):
    """Tick boxes for up to eight channels, a line of text for more."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._names: list[str] = []
        self._boxes: list[QCheckBox] = []
        self._text = QLineEdit()
        self._text.setPlaceholderText("all")
        self._text.setToolTip("Channels to use, such as 0, 2, 5-7; empty: all of them")
        self.addWidget(self._text)

    def set_channels(self, names: list[str], *, unticked: tuple[int, ...] = ()) -> None:
        """Offer these channels; all are chosen except `unticked`.

        Choices are kept while the names stay the same.
        """
        if names == self._names:
            return
        self._names = names
        self._text.clear()
        page = self.widget(1)
        if page is not None:
            self.removeWidget(page)
            page.deleteLater()
        self._boxes = []
        if len(names) <= _MOST_BOXES:
            page = QWidget()
            # A single row has a height that a form can rely on; more rows flow.
            layout = QHBoxLayout(page) if len(names) <= 4 else QFlowLayout(page)
            layout.setContentsMargins(0, 0, 0, 0)
            for channel, name in enumerate(names):
                box = QCheckBox(name)
                box.setChecked(channel not in unticked)
                box.setToolTip(f"Use channel {channel} for the segmentation")
                layout.addWidget(box)
                self._boxes.append(box)
            if isinstance(layout, QHBoxLayout):
                layout.addStretch()
            self.addWidget(page)
            self.setCurrentIndex(1)

    @property
    def value(self) -> tuple[int, ...] | None:
        """Chosen channels; None for all.

        Raises
        ------
        ParameterError
            If no channel is chosen, or the text names none that exists.
        """
        if not self._boxes:
            return parse_channels(self._text.text(), len(self._names))
        chosen = tuple(c for c, box in enumerate(self._boxes) if box.isChecked())
        if not chosen:
            raise ParameterError("no channel is ticked; tick at least one")
        return None if len(chosen) == len(self._boxes) else chosen
