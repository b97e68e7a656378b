"""Answers that leave in one write: what is joined, what does not wait, and what is handed on."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

import pytest

from cableway_handlers.api.one_write import MAX_HELD, OneWriteTransport


@pytest.fixture
def inner() -> Mock:
    made = Mock(spec=asyncio.Transport)
    made.get_write_buffer_size.return_value = 7
    return made


async def test_what_is_written_in_one_turn_is_sent_at_once(inner: Mock) -> None:
    transport = OneWriteTransport(inner, asyncio.get_running_loop())
    transport.write(b"head ")
    transport.writelines([b"and ", bytearray(b"body")])
    inner.write.assert_not_called()
    assert transport.get_write_buffer_size() == 13 + 7
    await asyncio.sleep(0)
    inner.write.assert_called_once_with(b"head and body")
    transport.write(b"alone")
    await asyncio.sleep(0)
    assert [call.args[0] for call in inner.write.call_args_list] == [b"head and body", b"alone"]


async def test_much_is_not_held_back(inner: Mock) -> None:
    transport = OneWriteTransport(inner, asyncio.get_running_loop())
    transport.write(b"x" * MAX_HELD)
    inner.write.assert_not_called()
    transport.write(b"y")
    assert len(inner.write.call_args.args[0]) == MAX_HELD + 1
    assert transport.get_write_buffer_size() == 7


@pytest.mark.parametrize("end", ["close", "write_eof"])
async def test_an_end_comes_after_what_was_written(inner: Mock, end: str) -> None:
    transport = OneWriteTransport(inner, asyncio.get_running_loop())
    transport.write(b"last")
    getattr(transport, end)()
    assert [call[0] for call in inner.method_calls] == ["write", end]
    await asyncio.sleep(0)
    inner.write.assert_called_once_with(b"last")


async def test_what_is_broken_off_is_not_sent(inner: Mock) -> None:
    transport = OneWriteTransport(inner, asyncio.get_running_loop())
    transport.write(b"never")
    transport.abort()
    await asyncio.sleep(0)
    assert [call[0] for call in inner.method_calls] == ["abort"]


def test_all_else_is_the_transports_own(inner: Mock) -> None:
    transport = OneWriteTransport(inner, Mock())
    transport.set_write_buffer_limits(9, 3)
    transport.set_protocol(protocol := asyncio.Protocol())
    transport.pause_reading()
    transport.resume_reading()
    inner.set_write_buffer_limits.assert_called_once_with(9, 3)
    inner.set_protocol.assert_called_once_with(protocol)
    inner.pause_reading.assert_called_once_with()
    inner.resume_reading.assert_called_once_with()
    for name in ("is_closing", "get_protocol", "is_reading", "get_write_buffer_limits", "can_write_eof"):
        assert getattr(transport, name)() is getattr(inner, name).return_value
    assert transport.get_extra_info("peername", "nobody") is inner.get_extra_info.return_value
