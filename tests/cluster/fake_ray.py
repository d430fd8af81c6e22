"""What a pool of workers asks of Ray, without Ray: a function answers for the workers, at once or from a thread."""

from concurrent.futures import Future
from threading import Timer
from types import SimpleNamespace

from accord.cluster.worker import Done, Hello


class RayActorError(Exception):
    pass


class Actor:
    """A worker: any method of it may be called."""

    def __init__(self, ray, name):
        self.ray, self.name, self.number = ray, name, len(ray.actors)
        self.dead = self.killed = False

    def __getattr__(self, method):
        return SimpleNamespace(remote=lambda *about: self.ray.call(self, method, about))


class FakeRay:
    """Machines of so many CPUs, and actors that are there at once.

    Args:
        answers: actor, method and arguments -> what it returns, an error that it raises, or `(seconds, either)`. None:
            what a worker that makes everything would say.
    """

    exceptions = SimpleNamespace(RayActorError=RayActorError)

    def __init__(self, cpus, answers=lambda actor, method, about: None):
        self.cpus, self.answers = cpus, answers
        self.actors, self.calls, self.variables = [], [], []

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": number, "memory": 1e12}} for number in self.cpus]

    def remote(self, worker):
        def options(**about):
            self.variables.append(about["runtime_env"]["env_vars"])
            return SimpleNamespace(remote=self.start)

        return SimpleNamespace(options=options)

    def start(self, name, told):
        self.actors.append(Actor(self, name))
        return self.actors[-1]

    def kill(self, actor):
        actor.killed = True

    def call(self, actor, method, about):
        self.calls.append((actor.name, method, about))
        answer = RayActorError("the node has died") if actor.dead else self.answers(actor, method, about)
        if answer is None:
            answer = usual(method)
        future, wait = Future(), 0.0
        if isinstance(answer, tuple) and len(answer) == 2:
            wait, answer = answer

        def give():
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        if wait:
            timer = Timer(wait, give)
            timer.daemon = True
            timer.start()
        else:
            give()
        return SimpleNamespace(future=lambda: future)


def usual(method):
    """What a worker answers that makes everything at once."""
    answers = {
        "hello": Hello("here", 1, ""),
        "how_far": (1, 2, "", "loss 1"),
        "make": Done("made"),
        "help": Done("helped"),
    }
    return answers.get(method)
