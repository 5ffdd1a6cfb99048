"""Pictures of runs. The one package that imports matplotlib."""

from slt.plot.diagnosis import plot_diagnosis
from slt.plot.estimate import plot_estimate

__all__ = ["plot_diagnosis", "plot_estimate"]
