"""LangGraph's stores, on the users that the Rust programs measure.

usage: measure.py DIRECTORY bulk langgraph-sqlite USERS
       measure.py DIRECTORY memory TURNS

Prints lines `workload,contestant,measure,value`. (A script named like the package would hide it.)
"""

import json
import os
import resource
import sys
import time

from langgraph.store.base import PutOp
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore

BATCH = 1000
MASK = (1 << 64) - 1


def scatter(n):
    x = (n + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def user_id(n):
    high, low = scatter(n), scatter(~n & MASK)
    return "%08x-%04x-4%03x-8%03x-%012x" % (
        high >> 32, high >> 16 & 0xFFFF, high & 0xFFF, low >> 52, low & 0xFFFFFFFFFFFF,
    )


def memory(n, version):
    return {
        "name": "User %08d" % n, "email": "user%08d@example.com" % n, "plan": "premium",
        "version": version + 1000, "score": 0.875, "active": True,
        "tags": ["beta", "newsletter", "eu-west-1"],
        "preferences": {"language": "en", "theme": "dark", "notifications": {"email": True, "push": False}},
        "last_topics": ["billing", "quota limits"],
    }


def puts(users):
    return [PutOp(("my-guru",), user["external_user_id"], user["memory"]) for user in users]


def users(first, count, version):
    return [{"external_user_id": user_id(n), "memory": memory(n, version)} for n in range(first, first + count)]


def line(workload, contestant, measure, value):
    print(f"{workload},{contestant},{measure},{value:.4f}", flush=True)


def bulk(directory, contestant, count):
    path = os.path.join(directory, "langgraph.db")
    workload = f"bulk {count}"
    with SqliteStore.from_conn_string(path) as store:
        store.setup()
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            store.conn.execute(f"PRAGMA {pragma}")
        for phase, version in (("insert", 0), ("change", 1), ("retry", 1)):
            spent = 0.0
            for first in range(0, count, BATCH):
                batch = puts(users(first, BATCH, version))
                start = time.perf_counter()
                store.batch(batch)
                spent += time.perf_counter() - start
            line(workload, contestant, f"{phase} users/s", count / spent)
    line(workload, contestant, "file MB", os.path.getsize(path) / 1e6)
    line(workload, contestant, "peak MB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)


def handle(store, body):
    """The documented endpoint."""
    items = json.loads(body)["users"]
    results, good = [], []
    for index, user in enumerate(items):
        errors = []
        if not isinstance(user.get("external_user_id"), str):
            errors.append("Missing external_user_id")
        if not isinstance(user.get("memory"), dict):
            errors.append("Missing memory data")
        if not errors:
            good.append(user)
        results.append({"user_index": index, "external_user_id": user.get("external_user_id"),
                        "success": not errors, "errors": errors})
    store.batch(puts(good))
    return json.dumps({"status": "success", "total_users": len(items), "processed_users": len(good),
                       "users_results": results}, separators=(",", ":"))


def in_memory(turns):
    count = 10_000
    bodies = [json.dumps({"users": users(0, count, version)}) for version in range(6)]
    for _ in range(turns):
        store = InMemoryStore()
        start = time.perf_counter()
        for body in bodies:
            handle(store, body)
        line("memory 1", "langgraph-memory", "users/s", count * len(bodies) / (time.perf_counter() - start))


def main():
    match sys.argv[1:]:
        case [directory, "bulk", "langgraph-sqlite", count]:
            bulk(directory, "langgraph-sqlite", int(count))
        case [_, "memory", turns]:
            in_memory(int(turns))
        case _:
            sys.exit(__doc__)


main()
