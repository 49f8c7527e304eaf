"""A pytest plugin that sees a race inside kafka-python 3.0.12, and changes nothing of it.

A consumer that subscribes while its bootstrap's metadata request is on the way forgets that it needs another one: the answer
to the first clears `ClusterMetadata._need_update` (cluster.py, the "TODO: handle future when old metadata request is currently
in-flight" of set_topics). It never asks for its topic, and gets nothing until metadata_max_age_ms of five minutes. No broker can
help it. A test in which that happened says which topics were lost in a property of its report."""

import pytest

PROPERTY = "lost topics"

_lost = set()
# Topics of its newest request, by cluster; None where it asked for all.
_asked_for = {}


def pytest_configure(config):
    from kafka.cluster import ClusterMetadata

    metadata_request = ClusterMetadata.metadata_request
    update_metadata = ClusterMetadata.update_metadata

    def ask(self):
        _asked_for[id(self)] = None if self.need_all_topic_metadata else set(self._topics)
        return metadata_request(self)

    def update(self, metadata):
        updated = update_metadata(self, metadata)
        asked_for = _asked_for.get(id(self))
        if asked_for is not None and not self._need_update and not self.need_all_topic_metadata:
            _lost.update(set(self._topics) - asked_for)
        return updated

    ClusterMetadata.metadata_request = ask
    ClusterMetadata.update_metadata = update


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    _lost.clear()
    _asked_for.clear()


def pytest_runtest_teardown(item):
    if _lost:
        item.user_properties.append((PROPERTY, ", ".join(sorted(_lost))))
