"""How right a model is, in numbers: pure functions of truths, answers and scores, on numpy alone.

The definitions are scikit-learn's. Where a formula would divide by zero, the value is 0: the precision of a
label that was never answered, the recall of one that no picture has, the F1 of one that is neither.

Words: ``truth`` says which labels are true of each picture, (pictures, labels) of bool; ``answered`` which of
them the model named; ``scores`` are its scores, (pictures, labels) of floats.
"""

from edge_agent.workbench.metrics.calibration import (
    Bin,
    Calibration,
    brier_score,
    calibration,
)
from edge_agent.workbench.metrics.counts import Counts, Rates, average, confusion_matrix, rates
from edge_agent.workbench.metrics.thresholds import BestThreshold, average_precision, best_threshold

__all__ = [
    "BestThreshold",
    "Bin",
    "Calibration",
    "Counts",
    "Rates",
    "average",
    "average_precision",
    "best_threshold",
    "brier_score",
    "calibration",
    "confusion_matrix",
    "rates",
]
