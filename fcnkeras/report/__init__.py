"""Reports that need nothing but themselves: one HTML file with plots, maps and tables."""

from fcnkeras.report.experiments import write_experiment_report
from fcnkeras.report.training import write_training_report

__all__ = ["write_experiment_report", "write_training_report"]
