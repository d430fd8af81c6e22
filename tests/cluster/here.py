"""A pool of workers in the tests' own process, in place of Ray's."""

from accord.cluster.pool import Failed, Help, Helped, Joined, Lost, Made, Make, Moved
from accord.cluster.worker import Worker


class Here:
    """Two workers in this process, which make what they are told at once; the first dies with its first order."""

    workers = 2
    deaths = 1

    def __init__(self, ray, machines, briefing, prints, worker=Worker, **about):
        self.made, self.prints, self.closed = [], prints, False
        self.there = {name: worker(name, briefing) for name in ("worker 1", "worker 2")}
        self.events = [Joined(name, "here") for name in self.there]

    def open(self):
        assert all(worker.hello().wrong == "" for worker in self.there.values())

    def close(self):
        self.closed = True

    def start(self, order):
        if not isinstance(order, Make):
            self.events += [Helped(order.worker, order.stage)] if isinstance(order, Help) else []
            return
        if self.deaths:
            type(self).deaths -= 1
            self.events += [Lost(order.worker, "killed"), Joined(order.worker, "here")]
            return
        done = self.there[order.worker].make(order.stage, self.prints[order.stage])
        self.events.append(Moved(order.worker, order.stage, 1, 2))
        if done.how == "made":
            self.events.append(Made(order.worker, order.stage, done.seconds, done.found, done.lacking))
        elif done.how == "left":
            self.events += [Lost(order.worker, "it left"), Joined(order.worker, "here")]
        else:
            self.events.append(Failed(order.worker, order.stage, done.reason))

    def wait(self, timeout):
        events, self.events = self.events, []
        return events
