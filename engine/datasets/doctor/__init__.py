"""The doctor of a dataset: what is wrong with pictures and captions, what it means for training, and a remedy."""

from engine.datasets.doctor.examination import examine
from engine.datasets.doctor.finding import FINDINGS, Finding
from engine.datasets.doctor.kept import Kept, last_report
from engine.datasets.doctor.report import Report

__all__ = ["FINDINGS", "Finding", "Kept", "Report", "examine", "last_report"]
