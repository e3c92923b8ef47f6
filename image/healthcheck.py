"""Exit status 0 if the exporter answers at HEALTH_URL: whether it lives, not what it found out."""

# ruff: noqa: INP001  (a script)
import os
import sys
import urllib.request

DEFAULT = "http://127.0.0.1:10179/-/healthy"
SECONDS = 4


def main() -> int:
    url = os.environ.get("HEALTH_URL", DEFAULT)
    straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through the proxy of HTTP_PROXY
    try:
        with straight.open(url, timeout=SECONDS) as answer:
            print(answer.read(200).decode(errors="replace").strip())  # noqa: T201  (the engine keeps what it prints)
    except (OSError, ValueError) as error:
        print(f"{url}: {error}")  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
