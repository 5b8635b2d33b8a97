"""RunPod's SDK without the second that its import spends on the name of the processor."""

from __future__ import annotations

from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")


def know_the_processor() -> None:
    """To be called before `import runpod`.

    The SDK asks py-cpuinfo for the processor's name as soon as it is imported, for one line of its
    debugger. To answer, py-cpuinfo starts processes and measures clock rates, which takes longer
    than all the rest of the SDK. The kernel has the name, too.
    """
    name = processor_name(_CPU_INFO)
    if name is None:
        return
    try:
        import cpuinfo  # type: ignore[import-untyped]
    except ImportError:
        return
    cpuinfo.get_cpu_info = lambda: {"brand_raw": name}


def processor_name(cpu_info: Path) -> str | None:
    """None where the kernel does not tell."""
    try:
        lines = cpu_info.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, None)
