"""Whether a repair will help, before one is made: what the teacher orders rightly, and what can be read where."""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.forecasting.logged_runs import logged, predict, record
    from accord.forecasting.measure import forecast
    from accord.forecasting.pairs import ordered_pairs, ordered_within
    from accord.forecasting.readable import HeldOut, read_held_out
    from accord.forecasting.result import RepairForecast
    from accord.forecasting.turned import turned_pairs

__all__ = [
    "HeldOut",
    "RepairForecast",
    "forecast",
    "logged",
    "ordered_pairs",
    "ordered_within",
    "predict",
    "read_held_out",
    "record",
    "turned_pairs",
]

__getattr__, __dir__ = exports(__name__)
