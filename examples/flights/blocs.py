"""A bloc of one's own: joins flights with the weather at their hour, and keeps those that flew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from cableway.blocs import RunContext, TransformerBloc


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinWeatherConfig:
    """Which blocs give the two sides, and where a wind begins to count as strong."""

    flights: str = "flights"
    """The bloc that loads flights, batch by batch."""
    weather: str = "weather"
    """The bloc that loads the weather, whole."""
    strong_mph: float = 20.0
    """Wind speed in miles an hour from which on a wind is strong."""


class JoinWeatherBloc(TransformerBloc):
    """The weather comes with every item, but is sent to each worker only once."""

    bloc_type = "join_weather"
    summary = "Joins flights with the weather at their hour and keeps those that flew."
    Config = JoinWeatherConfig
    example: ClassVar[Mapping[str, Any]] = {"flights": "flights", "weather": "weather"}
    lanes = ("thread", "process", "dask")

    config: JoinWeatherConfig

    def transform(self, context: RunContext) -> Any:
        """A DataFrame of flights with their weather."""
        flights = context.get_data(self.config.flights)
        weather = context.get_data(self.config.weather)[["origin", "time_hour", "temp", "wind_speed", "visib"]]
        flown = flights.dropna(subset=["dep_delay", "arr_delay"])
        joined = flown.merge(weather, on=["origin", "time_hour"], how="left")
        joined["wind"] = "unknown"
        joined.loc[joined["wind_speed"] < self.config.strong_mph, "wind"] = "light"
        joined.loc[joined["wind_speed"] >= self.config.strong_mph, "wind"] = "strong"
        joined["temp_c"] = ((joined["temp"] - 32) / 1.8).round(1)
        return joined[
            ["carrier", "flight", "origin", "dest", "time_hour", "dep_delay", "arr_delay", "distance", "temp_c", "wind"]
        ]
