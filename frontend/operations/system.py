"""system_information: the machine, the node's processes and its tables. A section is gathered only when asked for."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import time
from collections.abc import Callable
from typing import Any

import psutil

import engine
from frontend import pidfile
from frontend.operations.members import Member, array, text
from frontend.operations.row import Call, Operation
from frontend.permissions import SUPER_USER

Section = dict[str, Any]


def system_information(call: Call) -> dict[str, Any]:
    wanted = SECTIONS if call["attributes"] is None else dict.fromkeys(call["attributes"])
    return {name: SECTIONS[name](call.node) for name in wanted if name in SECTIONS}


def _system(node: engine.Node) -> Section:
    release = _os_release()
    return {
        "platform": platform.system().lower(),
        "distro": release.get("NAME"),
        "release": release.get("VERSION_ID"),
        "codename": release.get("VERSION_CODENAME"),
        "kernel": platform.release(),
        "arch": platform.machine(),
        "hostname": socket.gethostname(),
        "python_version": platform.python_version(),
        "kennel_version": engine.__version__,
    }


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _time(node: engine.Node) -> Section:
    now = time.time()
    return {
        "current": round(now * 1000),
        "uptime": round(now - psutil.boot_time()),
        "timezone": time.strftime("GMT%z"),
        "timezoneName": time.tzname[0],
    }


def _cpu(node: engine.Node) -> Section:
    frequency = psutil.cpu_freq()
    total = psutil.cpu_times_percent(interval=None)
    load = {
        "avgLoad": round(os.getloadavg()[0], 2),
        "currentLoad": round(100 - total.idle, 2),
        "currentLoadUser": total.user,
        "currentLoadSystem": total.system,
        "currentLoadIdle": total.idle,
        "cpus": [{"load": percent} for percent in psutil.cpu_percent(interval=None, percpu=True)],
    }
    return {
        "cores": psutil.cpu_count(),
        "physicalCores": psutil.cpu_count(logical=False),
        "cpu_speed": {"min": frequency.min, "max": frequency.max, "avg": frequency.current} if frequency else None,
        "current_load": load,
    }


def _memory(node: engine.Node) -> Section:
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    return {
        "total": memory.total,
        "free": memory.free,
        "used": memory.used,
        "active": memory.active,
        "available": memory.available,
        "swaptotal": swap.total,
        "swapused": swap.used,
        "swapfree": swap.free,
    }


def _disk(node: engine.Node) -> Section:
    """Traffic of the whole machine, and the room on the file system that holds the node."""
    counters = psutil.disk_io_counters()
    usage = psutil.disk_usage(str(node.root))
    size = {"mount": str(node.root), "size": usage.total, "used": usage.used, "use": usage.percent}
    if counters is None:
        return {"size": [size]}
    return {
        "io": {
            "rIO": counters.read_count,
            "wIO": counters.write_count,
            "tIO": counters.read_count + counters.write_count,
        },
        "read_write": {
            "rx": counters.read_bytes,
            "wx": counters.write_bytes,
            "tx": counters.read_bytes + counters.write_bytes,
        },
        "size": [size],
    }


def _network(node: engine.Node) -> Section:
    interfaces = [
        {"iface": name, "ip4": _address(addresses, socket.AF_INET), "ip6": _address(addresses, socket.AF_INET6)}
        for name, addresses in psutil.net_if_addrs().items()
    ]
    stats = [
        {"iface": name, "rx_bytes": counters.bytes_recv, "tx_bytes": counters.bytes_sent}
        for name, counters in psutil.net_io_counters(pernic=True).items()
    ]
    return {"interfaces": interfaces, "stats": stats}


def _address(addresses: list[Any], family: socket.AddressFamily) -> str | None:
    return next((address.address for address in addresses if address.family is family), None)


def _processes(node: engine.Node) -> Section:
    """The supervisor and everything it started; without one, this process alone."""
    try:
        first = psutil.Process(pidfile.holder(node.root) or os.getpid())
        found = [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        found = []
    return {"core": [described for process in found if (described := _process(process)) is not None]}


def _process(process: psutil.Process) -> Section | None:
    """Without its command line, which may have been given a password."""
    with contextlib.suppress(psutil.NoSuchProcess), process.oneshot():
        return {
            "pid": process.pid,
            "parentPid": process.ppid(),
            "name": process.name(),
            "state": process.status(),
            "started": round(process.create_time() * 1000),
            "cpu": process.cpu_percent(interval=None),
            "mem": round(process.memory_percent(), 2),
            "memRss": process.memory_info().rss,
        }
    return None  # it ended in the meantime


def _table_size(node: engine.Node) -> list[Section]:
    found = []
    for schema in node.schemas():
        for name in node.tables(schema):
            with contextlib.suppress(engine.NotFound):  # dropped in the meantime
                table = node.table(schema, name)
                sizes = table.sizes()
                found.append(
                    {
                        "schema": schema,
                        "table": name,
                        "table_size": sizes.index_bytes,
                        "transaction_log_size": sizes.log_bytes,
                        "record_count": table.count(),
                    }
                )
    return found


SECTIONS: dict[str, Callable[[engine.Node], Any]] = {
    "system": _system,
    "time": _time,
    "cpu": _cpu,
    "memory": _memory,
    "disk": _disk,
    "network": _network,
    "harperdb_processes": _processes,
    "table_size": _table_size,
}

OPERATIONS = (Operation("system_information", system_information, SUPER_USER, (Member("attributes", array(text)),)),)
