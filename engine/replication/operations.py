"""The cluster operations, as tasks of the protocol core: add_node, update_node, set_node_replication, remove_node,
configure_cluster, cluster_status and cluster_network. Each is a generator whose return value is the reply.

Those that change something run one after the other. A change is proposed to the peer first and kept by both; when the
peer does not answer, nobody knows whether it has kept it, so a later change that takes it back is left for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace as with_fields

from engine.errors import Conflict, InvalidRequest, KennelError, NotFound, Unreachable
from engine.replication import requests
from engine.replication.effects import Ask, Sleep
from engine.replication.messages import Found, Member, Propose, Stream, Survey, Term, Verdict
from engine.replication.requests import Request
from engine.replication.tasks import All, Steps
from engine.replication.terms import Neighbour, Subscription, continued
from engine.replication.works import CreateTable, Describe

if TYPE_CHECKING:
    from engine.replication.protocol import Protocol
    from engine.replication.session import Session

LINK_TIMEOUT = 3.0
PROPOSAL_TIMEOUT = 15.0
SURVEY_TIMEOUT = 5.0
MAX_SURVEY_TIMEOUT = 60.0
HOP_MARGIN = 0.8  # of the time that is left goes to the next hop, so that what it found comes back in time


def different_keys(stream: Stream) -> str:
    return f"Table '{stream.schema}.{stream.table}' exists with different hash attributes on the two nodes."


# --- changes ---------------------------------------------------------------------------------------------------------


def add_node(core: Protocol, body: Mapping[str, Any]) -> Steps:
    name, wanted = _addressed(core, body), requests.subscriptions(body)
    if _subscribed(core, name) is not None:
        raise InvalidRequest(f"Node '{name}' has already been added, perform update to proceed.")
    set_, skipped = yield from _subscribe(core, name, wanted, "add")
    return {"message": f"Successfully added '{name}' to manifest", "added": set_, "skipped": skipped}


def update_node(core: Protocol, body: Mapping[str, Any]) -> Steps:
    name, wanted = _addressed(core, body), requests.subscriptions(body)
    if _subscribed(core, name) is None:
        raise NotFound(f"Node '{name}' was not found, perform add_node to proceed.")
    return (yield from _update(core, name, wanted))


def set_node_replication(core: Protocol, body: Mapping[str, Any]) -> Steps:
    return (yield from _update(core, _addressed(core, body), requests.subscriptions(body)))


def remove_node(core: Protocol, body: Mapping[str, Any]) -> Steps:
    name = requests.node_name(body)
    row = _subscribed(core, name)
    if row is None:
        raise NotFound(f"Node '{name}' was not found.")
    yield from _remove(core, row)
    return {"message": f"Successfully removed '{name}' from manifest"}


def configure_cluster(core: Protocol, body: Mapping[str, Any]) -> Steps:
    connections = requests.connections(body)
    for name, _ in connections:
        _not_itself(core, name)
    for row in list(core.neighbours.values()):
        if row.subscriptions:
            yield from _remove(core, row)
    results = []
    for name, wanted in connections:
        try:
            set_, skipped = yield from _subscribe(core, name, wanted, "add")
            results.append({"node_name": name, "added": set_, "skipped": skipped})
        except KennelError as error:
            results.append({"node_name": name, "error": error.message})
    return {"message": "Cluster successfully configured.", "connections": results}


def _addressed(core: Protocol, body: Mapping[str, Any]) -> str:
    name = requests.node_name(body)
    _not_itself(core, name)
    return name


def _not_itself(core: Protocol, name: str) -> None:
    if name == core.identity.name:
        raise InvalidRequest(f"The node name '{name}' is this node's own name.")


def _subscribed(core: Protocol, name: str) -> Neighbour | None:
    row = core.neighbours.get(name)
    return row if row is not None and row.subscriptions else None


def _update(core: Protocol, name: str, wanted: list[Request]) -> Steps:
    set_, skipped = yield from _subscribe(core, name, wanted, "update")
    return {"message": f"Successfully updated '{name}'", "updated": set_, "skipped": skipped}


def _subscribe(core: Protocol, name: str, wanted: list[Request], verb: str) -> Steps:
    """Agree with a peer on the tables named. -> (those that were set, those that are a table on neither node)"""
    session = yield from _session(core, name, verb)
    before = session.neighbour
    described = yield Describe(tuple(request.stream for request in wanted))
    stamp = before.next_stamp(core.wall, core.identity.uuid)
    terms = [
        Term(*r.stream, stamp, r.publish, r.subscribe, r.start_time, described.get(r.stream, (None, None))[1])
        for r in wanted
    ]
    try:
        keys = yield from _propose(session, terms)
        for stream, key in keys.items():
            if key is not None and stream not in described:
                described[stream] = yield CreateTable(stream, key)
            if key is not None and described[stream][1] != key:
                raise Conflict(different_keys(stream))
    except (Conflict, InvalidRequest):
        raise  # the peer has kept nothing
    except KennelError as error:
        yield from _take_back(core, session, before, terms)
        raise (Unreachable(_unreachable(name, verb)) if isinstance(error, Unreachable) else error) from error
    done = [request for request in wanted if keys[request.stream] is not None]
    row = session.neighbour
    changes = {r.stream: _subscription(r, stamp, described[r.stream][0]) for r in done}
    changed = {stream: continued(before.subscriptions.get(stream), new) for stream, new in changes.items()}
    yield from core.keep(row.with_terms(changed.items()), session.card)
    session.settle()
    return [r.shown() for r in done], [dict(r.given) for r in wanted if keys[r.stream] is None]


def _propose(session: Session, terms: list[Term]) -> Steps:
    """-> the primary key attribute of each table, None for one that is on neither node"""
    verdict: Verdict = yield Ask(session, Propose(0, terms), PROPOSAL_TIMEOUT)
    if len(verdict.primary_keys) != len(terms):
        raise Unreachable(f"Node '{session.card.name}' does not answer to what it was asked.")
    return {term.stream: key for term, key in zip(terms, verdict.primary_keys, strict=True)}


def _subscription(request: Request, stamp: int, table_id: str) -> Subscription:
    return Subscription(request.publish, request.subscribe, stamp, request.start_time, table_id=table_id)


def _session(core: Protocol, name: str, verb: str) -> Steps:
    """The session with a node of this name; one that is just being linked is waited for."""
    deadline = core.now + LINK_TIMEOUT
    while (session := core.session_named(name)) is None:
        if core.now >= deadline:
            raise Unreachable(_unreachable(name, verb))
        yield Sleep(0.1)
    return session


def _unreachable(name: str, verb: str) -> str:
    return f"Unable to {verb} '{name}'. The node cannot be reached; check the name and the routes."


def _take_back(core: Protocol, session: Session, before: Neighbour, terms: list[Term]) -> Steps:
    """The peer may hold what was proposed: have it restore, by a later change, what held before."""
    stamp = terms[0].stamp + 2
    off = Subscription(publish=False, subscribe=False, stamp=stamp)
    proposed = {term.stream for term in terms}
    others = {stream: s for stream, s in session.neighbour.subscriptions.items() if stream not in proposed}
    again = {stream: replace(before.subscriptions.get(stream, off), stamp=stamp) for stream in proposed}
    if others or before.subscriptions:
        restored = replace(session.neighbour, subscriptions=others | again)
    else:
        restored = session.neighbour.without_terms(stamp)
    yield from core.keep(restored, session.card)
    live = core.sessions.get(session.card.uuid)
    if live is not None:
        live.settle()


def _remove(core: Protocol, row: Neighbour) -> Steps:
    stamp = row.next_stamp(core.wall, core.identity.uuid)
    yield from core.keep(row.without_terms(stamp), None)
    session = core.sessions.get(row.uuid)
    if session is not None:
        session.settle()


CHANGES: dict[str, Callable[[Protocol, Mapping[str, Any]], Steps]] = {
    "add_node": add_node,
    "update_node": update_node,
    "set_node_replication": set_node_replication,
    "remove_node": remove_node,
    "configure_cluster": configure_cluster,
}

# --- views -----------------------------------------------------------------------------------------------------------


def cluster_status(core: Protocol) -> dict[str, Any]:
    """What `cluster_status` answers. Members that HarperDB does not have appear only when there is something to tell:
    `refused` (why nodes could not be linked) and, per subscription, what was set aside, waits, or has halted."""
    rows = sorted((row for row in core.neighbours.values() if row.subscriptions), key=lambda row: row.name)
    status = {
        "node_name": core.identity.name,
        "is_enabled": True,
        "connections": [_connection(core, row) for row in rows],
    }
    refused = core.links.refusals()
    return status | ({"refused": refused} if refused else {})


def _connection(core: Protocol, row: Neighbour) -> dict[str, Any]:
    session = core.sessions.get(row.uuid)
    latency = session.link.latency if session is not None else None
    return {
        "node_name": row.name,
        "status": "open" if session is not None else "closed",
        "ports": {"clustering": row.clustering_port, "operations_api": row.operations_port},
        "latency_ms": math.ceil(latency) if latency is not None else None,
        "uptime": spell_out(core.now - session.link.started) if session is not None else None,
        "subscriptions": [_shown(core, stream, s) for stream, s in sorted(row.subscriptions.items())],
    }


def _shown(core: Protocol, stream: Stream, subscription: Subscription) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "schema": stream.schema,
        "table": stream.table,
        "publish": subscription.publish,
        "subscribe": subscription.subscribe,
    }
    halted = _halted(core, stream, subscription)
    if halted is not None:
        shown["halted"] = halted
    inflow = core.inflows.get(stream) if subscription.subscribe else None
    if inflow is not None and inflow.set_aside:
        shown["set_aside"] = inflow.set_aside
    if inflow is not None and inflow.ahead:
        shown["clock_ahead"] = sorted(origin.node for origin in inflow.ahead)
    return shown


def _halted(core: Protocol, stream: Stream, subscription: Subscription) -> str | None:
    """Why a subscription does nothing until it is set again; None when it works."""
    if not subscription.live:
        return None
    if subscription.table_id is None:
        return "there is no table here that could replicate with the other node's"
    inflow, publication = core.inflows.get(stream), core.publications.get(stream)
    if subscription.subscribe and inflow is not None and inflow.halted is not None:
        return inflow.halted
    return publication.halted if subscription.publish and publication is not None else None


def spell_out(seconds: float) -> str:
    """`2h 5m 9s`: from the largest unit that is not zero down to seconds."""
    total = max(0, int(seconds))
    parts = [(total // 86400, "d"), (total // 3600 % 24, "h"), (total // 60 % 60, "m"), (total % 60, "s")]
    while len(parts) > 1 and parts[0][0] == 0:
        del parts[0]
    return " ".join(f"{number}{unit}" for number, unit in parts)


def cluster_network(core: Protocol, body: Mapping[str, Any]) -> Steps:
    """Every node that answers in time, this one first."""
    timeout = requests.seconds(body, "timeout", SURVEY_TIMEOUT)
    without_connected, without_routes = requests.flag(body, "connected_nodes"), requests.flag(body, "routes")
    found = yield from members(core, core.new_survey(), [], timeout)
    nodes = []
    for member in found:
        node: dict[str, Any] = {"name": member.name, "response_time": max(1, math.ceil(member.response_time))}
        if not without_connected:
            node["connected_nodes"] = list(member.connected_nodes)
        if not without_routes:
            node["routes"] = [{"host": host, "port": port} for host, port in member.routes]
        nodes.append(node)
    return {"nodes": nodes}


def members(core: Protocol, survey: str, asked: list[str], timeout: float) -> Steps:
    """This node, and whoever answers of the nodes that are linked and not `asked` yet (uuids). -> list[Member]"""
    if core.seen_survey(survey):
        return []
    targets = [session for uuid, session in sorted(core.sessions.items()) if uuid not in asked]
    known = [*asked, core.identity.uuid, *(session.card.uuid for session in targets)]
    timeout = min(timeout, MAX_SURVEY_TIMEOUT)
    rest = timeout * HOP_MARGIN * 1000
    asks = [Ask(session, Survey(0, survey, known[:10_000], rest), timeout) for session in targets]
    answers = yield All([_asked(ask) for ask in asks])
    connected = sorted(session.card.name for session in core.sessions.values())
    found = {core.identity.name: Member(core.identity.name, 0.0, connected, list(core.routes))}
    for answer in answers:
        if isinstance(answer, Exception):
            continue  # a node that does not answer in time is not there
        for member in answer:
            found.setdefault(member.name, member)
    return list(found.values())


def _asked(ask: Ask) -> Steps:
    """A peer's answer to a survey, with the way there added to the response times."""
    found: Found = yield ask
    way = ask.session.link.latency or 0.0
    return [with_fields(member, response_time=member.response_time + way) for member in found.members]
