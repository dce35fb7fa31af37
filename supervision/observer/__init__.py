"""The observer: a page in the browser that shows supervision trees while they live (Erlang's ``observer``).

::

    from supervision.observer import Observer

    app = Observer("shop")              # an ASGI application: `uvicorn program:app`, or mount it in another one

A request goes from ``application.py`` (ASGI, and which requests are refused) to ``pages.py`` (the pages that are open, and
the thread that looks for them). What a page shows comes from ``sampling.py`` (rows of the trees) and ``timeline.py`` (the last
events). ``figures.py`` has what other packages give to it, and ``page/`` what the browser gets. It needs nothing but the
standard library.
"""

from supervision.observer.application import Observer
from supervision.observer.figures import Figure, Part

__all__ = ["Figure", "Observer", "Part"]
__dir__ = __all__.copy
