"""Run a static x86-64 program on the emulated Sapphire Rapids of Bochs, which has AVX-512 VNNI.

`python -m tests.support.bochs_processor PROGRAM [ARGUMENT...]`, with the library of
`bochs_model.cpp` in LD_PRELOAD. No kernel runs: the program's system calls are answered here, as
far as tests/model/native_check.cpp needs them. It has one thread.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import mmap
import os
import platform
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support import ROOT

MB = 1 << 20
PAGE = 4096
# Addresses are physical addresses. The program is linked to begin at 4 MB.
TABLES, ENTER = 0x1000, 0x10000
HEAP_END, STACK_END, MEMORY = 64 * MB, 191 * MB, 192 * MB
STACK = 8 * MB

# Of Linux.
EBADF, ENOMEM, EINVAL, ENOSYS = 9, 12, 22, 38
SET_FS = 0x1002
PROGRAM_HEADERS, HEADER_SIZE, HEADER_COUNT, PAGE_SIZE, ENTRY, RANDOM = 3, 4, 5, 6, 9, 25


def find_missing() -> str:
    """Return why no program can be emulated here, or an empty string."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return "Bochs's processor is packaged for x86-64 Linux alone"
    if importlib.util.find_spec("bochscpu") is None:
        return "there is no bochscpu here"
    return ""


def build_command(folder: Path, program: Path, *arguments: str) -> list[str | Path]:
    """Compile what the emulator needs and return the command that runs `program` in it."""
    library = folder / "bochs_model.so"
    source = ROOT / "tests" / "support" / "bochs_model.cpp"
    subprocess.run(["g++", "-O1", "-shared", "-fPIC", source, "-o", library, "-ldl"], check=True)
    emulator = [sys.executable, "-m", "tests.support.bochs_processor"]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return ["env", f"LD_PRELOAD={library}", f"PYTHONPATH={path}", *emulator, program, *arguments]


class Memory:
    """Memory of a process: its program, heap, mapped pages and stack, all of it writable."""

    def __init__(self, program: bytes, arguments: list[str]) -> None:
        self._bytes = mmap.mmap(-1, MEMORY)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._bytes))
        # Three levels of page tables. Flags: present, writable, for users; of 2 MB.
        self.write(TABLES, struct.pack("<Q", TABLES + PAGE | 7))
        self.write(TABLES + PAGE, struct.pack("<Q", TABLES + 2 * PAGE | 7))
        pages = [at | 0x87 for at in range(0, MEMORY, 2 * MB)]
        self.write(TABLES + 2 * PAGE, struct.pack(f"<{len(pages)}Q", *pages))
        self.entry, self._headers = struct.unpack_from("<QQ", program, 24)
        self.heap_start = self.heap = self._load(program)
        self.mapped = HEAP_END
        self.stack = self._push_arguments(arguments)

    def read(self, at: int, size: int) -> bytes:
        return self._bytes[at : at + size]

    def write(self, at: int, content: bytes) -> None:
        self._bytes[at : at + len(content)] = content

    def map(self, size: int) -> int:
        """Return the address of new zeros. Memory is not used twice."""
        at, end = self.mapped, self.mapped + -(-size // PAGE) * PAGE
        if end > STACK_END - STACK:
            return -ENOMEM
        self.mapped = end
        return at

    def move_heap_end(self, at: int) -> int:
        if self.heap_start <= at <= HEAP_END:
            self.heap = at
        return self.heap

    def _load(self, program: bytes) -> int:
        """Copy the segments of an ELF file and return the first page behind them."""
        size, count = struct.unpack_from("<HH", program, 54)
        self._auxiliary = {HEADER_SIZE: size, HEADER_COUNT: count, PAGE_SIZE: PAGE}
        self._auxiliary[ENTRY] = self.entry
        end = 0
        for i in range(count):
            kind, _, offset, address, _, stored, used, _ = struct.unpack_from(
                "<IIQQQQQQ", program, self._headers + i * size
            )
            if kind != 1:
                continue
            self.write(address, program[offset : offset + stored])
            end = max(end, address + used)
            if offset <= self._headers < offset + stored:
                self._auxiliary[PROGRAM_HEADERS] = address + self._headers - offset
        return -(-end // PAGE) * PAGE

    def _push_arguments(self, arguments: list[str]) -> int:
        """Write what a program finds on its stack and return the stack pointer."""
        at, pointers = STACK_END, []
        for text in arguments:
            content = text.encode() + b"\0"
            at -= len(content)
            self.write(at, content)
            pointers.append(at)
        at -= 16
        self._auxiliary[RANDOM] = at
        pairs = [number for pair in self._auxiliary.items() for number in pair]
        words = [len(pointers), *pointers, 0, 0, *pairs, 0, 0]
        at = (at - 8 * len(words)) & ~15
        self.write(at, struct.pack(f"<{len(words)}Q", *words))
        return at


class Process:
    """System calls of the emulated program."""

    def __init__(self, session: Any, memory: Memory) -> None:
        self._session, self._memory = session, memory
        self.status: int | None = None
        self._calls: dict[int, Callable[[int, int, int], int]] = {
            1: self._write,
            5: lambda *_: -EBADF,  # fstat
            9: lambda _, size, __: memory.map(size),
            10: lambda *_: 0,  # mprotect
            11: lambda *_: 0,  # munmap
            12: lambda at, *_: memory.move_heap_end(at),
            28: lambda *_: 0,  # madvise
            60: self._exit,
            158: self._set_thread_pointer,
            218: lambda *_: 1,  # set_tid_address
            231: self._exit,
            262: lambda *_: -EBADF,  # newfstatat
            318: self._fill_random,
        }

    def call(self) -> None:
        """Carry out the call whose number and arguments are in the registers."""
        cpu = self._session.cpu
        function = self._calls.get(cpu.rax, lambda *_: -ENOSYS)
        cpu.rax = function(cpu.rdi, cpu.rsi, cpu.rdx) % (1 << 64)

    def fail(self, vector: int) -> None:
        """Stop at an exception of the processor, such as an instruction that it lacks."""
        sys.stderr.write(f"exception {vector} at {self._session.cpu.rip:#x}\n")
        self._exit(1)

    def _write(self, file: int, at: int, size: int) -> int:
        return os.write(file, self._memory.read(at, size))

    def _exit(self, status: int, *_: int) -> int:
        if self.status is None:
            self.status = status & 255
        self._session.stop()
        return 0

    def _set_thread_pointer(self, what: int, at: int, _: int) -> int:
        if what != SET_FS:
            return -EINVAL
        segment = self._session.cpu.fs
        segment.base = at
        self._session.cpu.fs = segment
        return 0

    def _fill_random(self, at: int, size: int, _: int) -> int:
        self._memory.write(at, bytes(size))
        return size


def build_state(bochs: Any, memory: Memory) -> Any:
    """Return the registers of a program in 64-bit mode that may use those of AVX-512."""
    state = bochs.State()
    state.cr0, state.cr3, state.cr4 = 0x80050033, TABLES, 0x506A0
    state.efer = 0xD01
    state.xcr0 = 0xE7
    state.mxcsr, state.mxcsr_mask, state.fpcw, state.fptw = 0x1F80, 0xFFFF, 0x37F, 0xFFFF
    state.cs = _build_segment(bochs, 0x33, 0xA0FB)
    data = _build_segment(bochs, 0x2B, 0xC0F3)
    state.ss = state.ds = state.es = state.fs = state.gs = data
    state.star, state.lstar, state.sfmask = 0x23 << 48 | 0x10 << 32, ENTER, 0x700
    state.rip, state.rsp, state.rflags = memory.entry, memory.stack, 0x202
    # The processor tells of WBINVD, which no user's program may use. SYSRETQ returns.
    memory.write(ENTER, b"\x0f\x09\x48\x0f\x07")
    return state


def _build_segment(bochs: Any, selector: int, attributes: int) -> Any:
    segment = bochs.Segment()
    segment.present, segment.selector, segment.attr = True, selector, attributes
    segment.base, segment.limit = 0, 0xFFFFFFFF
    return segment


def main(arguments: list[str]) -> int:
    """Run the program and return its exit status."""
    # bochs_model.cpp looks for a function of it.
    sys.setdlopenflags(sys.getdlopenflags() | os.RTLD_GLOBAL)
    bochs = importlib.import_module("bochscpu")
    pages = importlib.import_module("bochscpu.memory")
    memory = Memory(Path(arguments[0]).read_bytes(), arguments)
    for at in range(0, MEMORY, PAGE):
        pages.page_insert(at, memory.address + at)
    session = bochs.Session()
    process = Process(session, memory)
    # Bochs wants a function here; the page tables name no address without memory.
    session.missing_page_handler = lambda _: process.fail(14)
    hook = bochs.Hook()
    hook.cache_cntrl = lambda *_: process.call()
    hook.exception = lambda _, __, vector, ___: process.fail(vector)
    session.cpu.state = build_state(bochs, memory)
    session.run([hook])
    return 1 if process.status is None else process.status


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    # The package crashes in an orderly end of the interpreter.
    os._exit(status)
