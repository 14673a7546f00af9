"""The options of the verbs of sonoforge.mobile; importable without what the verbs import."""

from dataclasses import dataclass

from sonoforge.runtime.cli.options import argument, group, option, setting
from sonoforge.runtime.settings import AnswerSettings


@dataclass(frozen=True)
class AppSettings(AnswerSettings):
    """How the app answers, and what it carries beside its classifier."""

    onnxruntime_web: str = setting(
        "",
        "app.onnxruntime_web",
        help="the .tgz of onnxruntime-web, as npm pack writes it, instead of a download; the .tgz of dicom-parser may "
        "lie beside it",
    )


FLAGS = "prevalence sensitivity abstain"


@dataclass(frozen=True)
class MobileBuildConfig:
    """Settings of ``sonoforge mobile build``."""

    bundle: str = argument("", help="a classifier's bundle (default: the shipped one)")
    out: str = option("app", help="folder of the app; an earlier build is replaced", metavar="FOLDER")
    apk: bool = option(False, help="also write FOLDER.apk, the same app for Android")
    key: str = option("", help="keystore to sign the .apk with\ndefault: a debug key", metavar="KEYSTORE")
    key_alias: str = setting("", "app.key_alias", help="name of the key, if the keystore holds several")
    app: AppSettings = group(AppSettings(), title="the app", flags=FLAGS)


@dataclass(frozen=True)
class ServeConfig:
    """Settings of ``sonoforge serve``."""

    bundle: str = argument("", help="a classifier's bundle (default: the shipped one)")
    port: int = option(8765, help="port; 0: any free one", limits=(0, 65535))
    host: str = option(
        "127.0.0.1",
        help="address to listen on; default: local only\nany other address is served over https, which phones need, "
        "if the extra phone is installed",
    )
    most: int = setting(100, "serve.most", help="largest upload in MB", limits=(1, 200))
    queue: int = setting(32, "serve.queue", help="scans that may wait; more are refused (429)", limits=(0, 120))
    page: bool = setting(True, "serve.page", help="serve the page, which needs onnxruntime-web, beside /classify")
    names: tuple[str, ...] = setting((), "serve.names", help="other names of this server, such as a load balancer's")
    log: str = setting("", "serve.log", help="file to append an access log to, as JSON lines")
    grace: float = setting(8.0, "serve.grace", help="seconds that requests in work get at the end", limits=(0, 3600))
    open: bool = option(False, help="open the page in the browser")
    app: AppSettings = group(AppSettings(), title="the app", flags=FLAGS)
