from __future__ import annotations

import pytest

from cableway.definitions.cron_grammar import CronError, parse_cron, zone_fault
from tests.fixtures.processor_time import within

REFUSED = [
    "",
    "* * * *",
    "* * * * * *",
    "R R * * *",
    "H H * * *",
    "@reboot",
    "@every 5m",
    "@daily",
    "? * * * *",
    "0 0 L * *",
    "0 0 1W * *",
    "0 0 * * 5#2",
    "0 0 * * 5L",
    "5-1 * * * *",
    "*/0 * * * *",
    "*/60 * * * *",
    "60 * * * *",
    "* 24 * * *",
    "* * 0 * *",
    "* * 32 * *",
    "* * * 13 *",
    "* * * 0 *",
    "* * * * 8",
    "-1 * * * *",
    "1, * * * *",
    ",1 * * * *",
    "1.5 * * * *",
    "5/10 * * * *",
    "*-5 * * * *",
    "0-59/999999999999 * * * *",
    "0\n0 * * *",
    "0 0 * * *\n",
    "0 0 * * * \x00",
    "\u0660 0 * * *",
    "\uff10 0 * * *",
    "0\xa00 * * *",
    "0 0 * jan-2x *",
    "0 0 * * monday",
    "mon * * * *",
    "0 0 30 2 *",
    "0 0 31 4,6,9,11 *",
    "0 0 30-31 feb */2",
    ",".join(["1"] * 10_000) + " * * * *",
]


@pytest.mark.promise("P22")
@pytest.mark.fault("D8")
@pytest.mark.parametrize("expression", REFUSED, ids=lambda text: ascii(text)[:30])
def test_what_has_no_fixed_meaning_is_refused_at_once(expression: str) -> None:
    with within(0.05), pytest.raises(CronError) as caught:
        parse_cron(expression)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("expression", "field", "values"),
    [
        ("* * * * *", "minutes", set(range(60))),
        ("*/20 * * * *", "minutes", {0, 20, 40}),
        ("5-20/5 * * * *", "minutes", {5, 10, 15, 20}),
        ("1,3-4 * * * *", "minutes", {1, 3, 4}),
        ("0 0 * JAN,mar-apr *", "months", {1, 3, 4}),
        ("0 0 * * 0", "weekdays", {0}),
        ("0 0 * * 7", "weekdays", {0}),
        ("0 0 * * 1", "weekdays", {1}),
        ("0 0 * * Sun", "weekdays", {0}),
        ("0 0 * * fri-sun", "weekdays", {5, 6, 0}),
        ("0 0 * * sun-tue", "weekdays", {0, 1, 2}),
        ("0 0 * * 5-7", "weekdays", {5, 6, 0}),
        ("0 0 * * */2", "weekdays", {0, 2, 4, 6}),
        ("0 0 29 2 *", "days", {29}),
    ],
)
def test_fields_mean_what_cron_means(expression: str, field: str, values: set[int]) -> None:
    assert getattr(parse_cron(expression), field) == values


@pytest.mark.parametrize(
    ("expression", "either"),
    [("0 0 13 * 5", True), ("0 0 13 * *", False), ("0 0 * * 5", False), ("0 0 */2 * 5", False), ("0 0 1 * */2", False)],
)
def test_days_are_joined_as_vixie_cron_joins_them(expression: str, either: bool) -> None:
    assert parse_cron(expression).either_day is either


@pytest.mark.parametrize(
    ("expression", "fixed"),
    [
        ("30 2 * * *", True),
        ("0 * * * *", False),
        ("*/30 2 * * *", False),
        ("0 1-5/2 * * *", False),
        ("0,30 2 1 * 1", True),
    ],
)
def test_times_of_the_clock_are_told_from_intervals(expression: str, fixed: bool) -> None:
    assert parse_cron(expression).fixed_time is fixed


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+3"])
def test_zones_of_the_database_are_taken(zone: str) -> None:
    assert zone_fault(zone) is None


@pytest.mark.parametrize(
    "zone",
    ["", "Berlin", "Europe", "../UTC", "/etc/localtime", "localtime", "posixrules", "UTC\x00", "Europe/Berlin\n", "é"],
)
def test_what_is_no_zone_or_the_hosts_own_is_refused(zone: str) -> None:
    assert zone_fault(zone) is not None
