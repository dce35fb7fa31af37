"""Mopidy under supervisors: `python mopidy_supervised.py` takes the place of `mopidy`, with its options."""

import asyncio
import contextlib
import signal
import sys

from gi.repository import GLib
from mopidy import audio, commands, core
from mopidy.__main__ import main
from mopidy.http.actor import HttpFrontend
from mopidy.http.handlers import WebSocketHandler
from mopidy.softwaremixer.mixer import SoftwareMixer
from mopidy_mpd.actor import MpdFrontend
from mopidy_mpd.session import MpdSession

from supervision import Backoff, ChildSpec, DynamicSupervisor, Supervisor, monitor, named, whereis

# --- Mopidy's actors, each with what its successor needs ----------------------------------------------------------------


class Mixer(SoftwareMixer):
    """Audio sets a mixer up when Audio starts. A mixer that starts later sets itself up."""

    def __init__(self, config):
        super().__init__(config)
        self._config = config

    def on_start(self):
        if whereis("audio"):  # so this is a restart
            self.setup(named("audio").proxy().mixer)
            self._initial_volume = self.get_volume()
        else:
            self._initial_volume = self._config["audio"]["mixer_volume"]

    def set_volume(self, volume):
        self._initial_volume = volume  # what the next Audio is to begin with
        return super().set_volume(volume)


class Audio(audio.Audio):
    """Core gives it a callback when Core starts. The callback is kept in the class, for an Audio that starts later."""

    callback = None

    def set_about_to_finish_callback(self, callback):
        Audio.callback = callback
        super().set_about_to_finish_callback(callback)

    def on_start(self):
        super().on_start()
        super().set_about_to_finish_callback(Audio.callback)
        if whereis("core"):  # so this is a restart; what was playing may be what it crashed of
            named("core").proxy().playback.stop()

    def on_failure(self, *_):
        self.on_stop()  # else GStreamer plays on


class Core(core.Core):
    """Its tracklist goes through Mopidy's own file, where core/restore_state is true."""

    def on_start(self):
        self._setup()

    def on_stop(self):
        self._teardown()

    def on_failure(self, *_):
        self._teardown()


class Http(HttpFrontend):
    """Its `on_stop` ends the thread that serves, and nothing else. A successor needs the port, and clients an end."""

    async def close(self):
        self.server.server.stop()
        for client in WebSocketHandler.clients.copy():
            client.ws_connection.stream.close()
        await self.server.server.close_all_connections()

    def on_stop(self):
        asyncio.run_coroutine_threadsafe(self.close(), self.server.io_loop.asyncio_loop).result(timeout=2)
        super().on_stop()
        self.server.join(timeout=2)

    def on_failure(self, *_):
        self.on_stop()


class Session(MpdSession):
    """The actor of one client: a child of the supervisor beside the frontend, and so it outlives the frontend."""

    @classmethod
    def start(cls, *args, **kwargs):
        spec = ChildSpec("session", cls, args, kwargs, restart="temporary")
        return DynamicSupervisor.start_child("mpd.sessions", spec)


class Mpd(MpdFrontend):
    def __init__(self, config, core):
        super().__init__(config, core)
        self.server.protocol = Session

    def on_failure(self, *_):
        self.server.stop()  # the port; the sessions stay, and the successor finds them


SUPERVISED = {SoftwareMixer: Mixer, HttpFrontend: Http, MpdFrontend: Mpd}

# --- the tree -----------------------------------------------------------------------------------------------------------


def child(name, actor_class, backoff=None, **kwargs):
    actor_class = SUPERVISED.get(actor_class, actor_class)
    return ChildSpec(name, actor_class, kwargs=kwargs, name=name, backoff=backoff, start_timeout=30.0)


def proxy(name):
    return named(name, await_restart=True).proxy()


def player(config, mixer_class, backend_classes):
    children = []
    if mixer_class:
        children.append(child("mixer", mixer_class, config=config))
    # Audio calls the mixer in its start. A proxy that waited there would wait for the supervisor, which waits for Audio.
    children.append(child("audio", Audio, config=config, mixer=named("mixer").proxy() if mixer_class else None))
    children += [child(cls.__name__, cls, config=config, audio=proxy("audio")) for cls in backend_classes]
    mixer = proxy("mixer") if mixer_class else None
    backends = [proxy(cls.__name__) for cls in backend_classes]
    return [*children, child("core", Core, config=config, mixer=mixer, backends=backends, audio=proxy("audio"))]


def frontends(config, frontend_classes):
    backoff = Backoff(initial=0.1, maximum=10.0)  # a port may be in use for a while
    children = [child(cls.__name__, cls, backoff, config=config, core=proxy("core")) for cls in frontend_classes]
    return [DynamicSupervisor.child_spec(id="mpd.sessions", name="mpd.sessions"), *children]


class Command(commands.RootCommand):
    def run(self, args, config):
        mixer_class = self.get_mixer_class(config, args.registry["mixer"])
        parts = [
            Supervisor.child_spec(
                player(config, mixer_class, args.registry["backend"]), id="player", max_restarts=5, max_seconds=30.0
            ),
            Supervisor.child_spec(
                frontends(config, args.registry["frontend"]), id="frontends", max_restarts=10, max_seconds=60.0
            ),
        ]
        loop = GLib.MainLoop()
        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGTERM, loop.quit)
        mopidy = Supervisor.start_link(parts, name="mopidy")
        monitor(mopidy, lambda down: GLib.idle_add(loop.quit))
        with contextlib.suppress(KeyboardInterrupt):
            loop.run()
        if not mopidy.is_alive():
            return 1  # it has given up: what has started this program is to decide
        Supervisor.stop(mopidy, timeout=30.0)
        return 0


commands.RootCommand = Command
sys.exit(main())
