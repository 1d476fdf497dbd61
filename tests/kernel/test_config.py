"""Settings from the environment."""

from pathlib import Path

import pytest

from services.kernel.config import LONGEST_RUN_FOLDER, Settings, read_settings
from services.kernel.errors import Misconfigured


def test_nothing_set_is_one_machine_with_a_folder() -> None:
    assert read_settings({}) == Settings(
        data=Path("data"),
        cell="local",
        database="",
        development=False,
        otlp_endpoint=None,
        master_key=Path("data/master.key"),
        broker="",
        follows_copy=False,
    )


def test_everything_can_be_set() -> None:
    settings = read_settings(
        {
            "KEPT_DATA": "/srv/kept",
            "KEPT_CELL": "eu-1",
            "KEPT_DATABASE": "postgresql://db/kept",
            "KEPT_ENV": "development",
            "KEPT_OTLP_ENDPOINT": "http://collector:4318",
            "KEPT_MASTER_KEY_FILE": "/run/secrets/key",
            "KEPT_BROKER": "amqps://ana:secret@broker:5671/kept",
            "KEPT_FOLLOW": "copy",
        }
    )

    assert settings == Settings(
        Path("/srv/kept"),
        "eu-1",
        "postgresql://db/kept",
        True,
        "http://collector:4318",
        Path("/run/secrets/key"),
        "amqps://ana:secret@broker:5671/kept",
        True,
    )


def test_empty_values_count_as_not_set() -> None:
    names = ("DATA", "CELL", "DATABASE", "ENV", "OTLP_ENDPOINT", "MASTER_KEY_FILE", "BROKER", "FOLLOW")

    assert read_settings({f"KEPT_{name}": "" for name in names}) == read_settings({})


def test_a_folder_on_the_command_line_comes_first() -> None:
    settings = read_settings({"KEPT_DATA": "/srv/kept"}, Path("/tmp/other"))

    assert (settings.data, settings.master_key) == (Path("/tmp/other"), Path("/tmp/other/master.key"))


def test_a_child_process_gets_the_same_settings() -> None:
    for settings in (
        read_settings({}),
        read_settings(
            {"KEPT_ENV": "development", "KEPT_DATABASE": "postgres://x/y", "KEPT_OTLP_ENDPOINT": "https://c"}
        ),
        read_settings({"KEPT_BROKER": "amqp://broker"}),
        read_settings({"KEPT_BROKER": "amqp://broker", "KEPT_FOLLOW": "copy"}),
    ):
        assert read_settings(settings.environment()) == settings


def test_all_mistakes_come_in_one_message() -> None:
    with pytest.raises(Misconfigured) as caught:
        read_settings(
            {
                "KEPT_CELL": "Ünïcell",
                "KEPT_DATABASE": "mysql://db",
                "KEPT_ENV": "staging",
                "KEPT_OTLP_ENDPOINT": "collector:4318",
                "KEPT_BROKER": "redis://broker",
                "KEPT_FOLLOW": "the leader",
            }
        )

    message = str(caught.value)
    assert len(message.split("; ")) == 6
    for name in ("KEPT_CELL", "KEPT_DATABASE", "KEPT_ENV", "KEPT_OTLP_ENDPOINT", "KEPT_BROKER", "KEPT_FOLLOW"):
        assert name in message


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("KEPT_DATABASE", "mysql://ana:secret@db"),
        ("KEPT_BROKER", "redis://ana:secret@broker"),
        ("KEPT_BROKER", "amqp://ana:secret@"),
        ("KEPT_BROKER", "amqp://ana:secret@broker:port"),
        ("KEPT_BROKER", "amqp://ana:secret@broker:99999"),
        ("KEPT_BROKER", "amqp://ana:secret@[::1"),
    ],
)
def test_a_password_in_an_address_is_not_repeated(name: str, address: str) -> None:
    with pytest.raises(Misconfigured, match=f"{name}: ") as caught:
        read_settings({name: address})

    assert "secret" not in str(caught.value)


def test_followers_need_a_broker_to_read_the_copy() -> None:
    with pytest.raises(Misconfigured, match="KEPT_FOLLOW=copy: there is no copy; set KEPT_BROKER"):
        read_settings({"KEPT_FOLLOW": "copy"})


@pytest.mark.parametrize("cell", ["", "a", "eu-1", "x" * 40])
def test_a_cells_name_is_short_and_plain(cell: str) -> None:
    assert read_settings({"KEPT_CELL": cell}).cell == (cell or "local")


@pytest.mark.parametrize("cell", ["-a", "A", "a_b", "a b", "a.b", "x" * 41, "a\n", "a;drop"])
def test_another_name_is_refused(cell: str) -> None:
    with pytest.raises(Misconfigured, match="KEPT_CELL"):
        read_settings({"KEPT_CELL": cell})


def test_sockets_are_in_the_data_folder_where_their_path_fits() -> None:
    assert read_settings({}, Path("/srv/kept")).run == Path("/srv/kept/run")


def test_a_long_data_folder_has_its_sockets_in_a_short_one_of_its_own() -> None:
    one, other = (read_settings({}, Path("/srv") / (letter * 100)).run for letter in "ab")

    assert one != other
    assert one == read_settings({}, Path("/srv") / ("a" * 100)).run
    for folder in (one, other):
        assert len(str(folder)) <= LONGEST_RUN_FOLDER
