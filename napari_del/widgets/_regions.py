"""The controls below the button: how the segmentation is cut into regions, live."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_del.widgets._session import NESTED_LINKAGES, Session, Settings

__all__ = ["SLIDER_STEPS", "RegionPanel"]

# Steps of the slider; more than it has pixels on any screen.
SLIDER_STEPS = 4000

_LINKAGE_TIPS = {
    "learned": "Regions join where a trained function of both says that people see one",
    "average": "Regions join by the mean dissimilarity along their whole common border",
    "contrast": "As average, and colours count too: for kinds of images the model never met",
    "del": "Regions join where any two superpixels across their border are alike enough",
    "egb": "Regions join where a border is weak against the variation inside both regions",
}


class RegionPanel(QWidget):
    """View of a `Session`: every control changes the session, and shows what it then is.

    Attributes
    ----------
    linkageChosen : Signal(str)
        A linkage that the session may have to compute first, which is left to the receiver.
    """

    linkageChosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session: Session | None = None
        self._source: QWidget | None = None  # the control that is changing the session
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, SLIDER_STEPS)
        self.slider.setSingleStep(SLIDER_STEPS // 200)
        self.slider.setPageStep(SLIDER_STEPS // 20)
        self.slider.setToolTip(
            "Finer to coarser. Equal distances change the number of regions by equal factors"
        )
        self.threshold = QDoubleSpinBox()
        self.threshold.setRange(0, 1)
        self.threshold.setDecimals(5)
        self.threshold.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
        self.threshold.setKeyboardTracking(False)
        self.threshold.setToolTip(
            "Largest dissimilarity at which neighbouring regions join, 0 to 1"
        )
        self.regions = QSpinBox()
        self.regions.setRange(1, 1)
        self.regions.setGroupSeparatorShown(True)
        self.regions.setKeyboardTracking(False)
        self.linkage = QComboBox()
        self.min_size = QSpinBox()
        self.min_size.setSuffix(" px")
        self.min_size.setGroupSeparatorShown(True)
        self.min_size.setStepType(QSpinBox.StepType.AdaptiveDecimalStepType)
        self.min_size.setKeyboardTracking(False)
        self.min_size.setToolTip("Regions of fewer pixels join the neighbour most like them")
        self.count = QLabel()
        self.count.setWordWrap(True)
        self._build()
        self.slider.valueChanged.connect(self._on_slider)
        self.threshold.valueChanged.connect(self._on_threshold)
        self.regions.valueChanged.connect(self._on_regions)
        self.linkage.activated.connect(self._on_linkage)
        self.min_size.valueChanged.connect(self._on_min_size)
        self.bind(None)

    def _build(self) -> None:
        ends = QHBoxLayout()
        for text, alignment in (
            ("finer", Qt.AlignmentFlag.AlignLeft),
            ("coarser", Qt.AlignmentFlag.AlignRight),
        ):
            label = QLabel(text)
            label.setStyleSheet("font-size: 11px; font-style: italic")
            ends.addWidget(label, alignment=alignment)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("&Threshold", self.threshold)
        form.addRow("&Regions", self.regions)
        form.addRow("Lin&kage", self.linkage)
        form.addRow("Mi&nimum size", self.min_size)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.count)
        layout.addWidget(self.slider)
        layout.addLayout(ends)
        layout.addLayout(form)

    def bind(self, session: Session | None) -> None:
        """Show and change this session; none turns the controls off."""
        if self._session is not None:
            self._session.changed.disconnect(self._on_changed)
        self._session = session
        self.setEnabled(session is not None)
        if session is None:
            self.count.setText("Nothing segmented yet")
            return
        segmentation = session.segmentation
        with (
            QSignalBlocker(self.regions),
            QSignalBlocker(self.min_size),
            QSignalBlocker(self.linkage),
        ):
            self.linkage.clear()
            for row, name in enumerate(segmentation.linkages):
                self.linkage.addItem(name, name)
                self.linkage.setItemData(row, _LINKAGE_TIPS[name], Qt.ItemDataRole.ToolTipRole)
            self.regions.setMaximum(max(segmentation.n_superpixels, 1))
            self.min_size.setMaximum(segmentation.shape[0] * segmentation.shape[1])
        session.changed.connect(self._on_changed)
        self._on_changed(session.settings)

    def _on_changed(self, settings: Settings) -> None:
        """Show what the session is now, without telling it what it said itself."""
        session = self._session
        if session is None:
            return
        n, of = session.n_regions(), session.segmentation.n_superpixels
        self.count.setText(f"<b>{n:,}</b> region{'' if n == 1 else 's'} of {of:,} superpixels")
        nested = settings.linkage in NESTED_LINKAGES
        self.regions.setEnabled(nested)
        self.regions.setToolTip(
            "Number of regions to aim at; the threshold that comes nearest from below is set"
            if nested
            else f"Linkage {settings.linkage} has no threshold for a number of regions"
        )
        with (
            QSignalBlocker(self.slider),
            QSignalBlocker(self.threshold),
            QSignalBlocker(self.regions),
            QSignalBlocker(self.min_size),
        ):
            # A control in use stays where the user put it: what it stands for is reached only
            # nearly, and a slider that snaps or a number that jumps back cannot be stepped.
            if self._source is not self.slider:
                self.slider.setValue(round(session.position * SLIDER_STEPS))
            self.threshold.setValue(settings.threshold)
            if self._source is not self.regions:
                self.regions.setValue(n)
            self.min_size.setValue(settings.min_size)
            self.linkage.setCurrentIndex(self.linkage.findData(settings.linkage))

    def _on_slider(self, step: int) -> None:
        if self._session is not None:
            self._source = self.slider
            self._session.move_to(step / SLIDER_STEPS)
            self._source = None

    def _on_threshold(self, threshold: float) -> None:
        if self._session is not None:
            self._session.set_threshold(threshold)

    def _on_regions(self, n_regions: int) -> None:
        if self._session is not None:
            self._source = self.regions
            self._session.select(n_regions)
            self._source = None

    def _on_min_size(self, min_size: int) -> None:
        if self._session is not None:
            self._session.set_min_size(min_size)

    def _on_linkage(self) -> None:
        self.linkageChosen.emit(self.linkage.currentData())
