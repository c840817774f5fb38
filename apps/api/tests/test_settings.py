"""Settings that make no sense are refused by name, and a secret is never repeated."""

import pytest

from paymux_api.settings import SettingRefused, Settings, docs_url, parse_settings

PEPPERS = {"PAYMUX_API_KEY_PEPPERS": "1:" + bytes(range(32)).hex()}


def test_the_defaults_listen_on_this_machine_only() -> None:
    settings = parse_settings(PEPPERS)
    assert (settings.host, settings.port, settings.admin_port) == ("127.0.0.1", 8080, None)
    assert settings.peppers == {1: bytes(range(32))}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PAYMUX_PORT", "many"),
        ("PAYMUX_PORT", "65536"),
        ("PAYMUX_PORT", "-1"),
        ("PAYMUX_ADMIN_PORT", "8080x"),
        ("PAYMUX_PUBLIC_URL", "pay.example"),
        ("PAYMUX_PUBLIC_URL", "https://pay.example/?a=1"),
        ("PAYMUX_LOG_LEVEL", "loud"),
        ("PAYMUX_BODY_DEADLINE_SECONDS", "0"),
        ("PAYMUX_BODY_DEADLINE_SECONDS", "nan"),
        ("PAYMUX_REQUESTS_IN_FLIGHT_MAX", "0"),
        ("PAYMUX_API_KEY_PEPPERS", ""),
        ("PAYMUX_API_KEY_PEPPERS", "secret"),
        ("PAYMUX_API_KEY_PEPPERS", "1:" + "00" * 32),
        ("PAYMUX_API_KEY_PEPPERS", "1:" + bytes(range(31)).hex()),
        ("PAYMUX_API_KEY_PEPPERS", ",".join(["1:" + bytes(range(32)).hex()] * 2)),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(SettingRefused, match=name) as refused:
        parse_settings(PEPPERS | {name: value})
    secret = value.rpartition(":")[2] if "PEPPERS" in name else ""
    assert not secret or secret not in str(refused.value)


def test_secrets_are_not_shown() -> None:
    settings = parse_settings(PEPPERS)
    assert "\\x01" not in repr(settings)


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "http://127.0.0.1:8080/docs"),
        ({"PAYMUX_PUBLIC_URL": "https://pay.example/api/"}, "https://pay.example/api/docs"),
        ({"PAYMUX_HOST": "::1", "PAYMUX_PORT": "81"}, "http://[::1]:81/docs"),
        ({"PAYMUX_HOST": "0.0.0.0"}, "/docs"),  # noqa: S104  what a container says
        ({"PAYMUX_PORT": "0"}, "/docs"),
    ],
)
def test_problems_point_to_an_address_that_can_be_opened(settings: dict[str, str], url: str) -> None:
    parsed: Settings = parse_settings(PEPPERS | settings)
    assert docs_url(parsed) == url
