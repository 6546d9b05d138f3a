"""How others open a page in a console of their own, and its person again later: addresses are each console's own."""

import shlex

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolekeeper_cli.console.addresses import is_local
from rolekeeper_cli.console.page import page


def share(request: Request) -> Response:
    asked = request.query_params.get("path", "")
    path = asked if is_local(asked) else "/"
    site = request.app.state.site
    deployment, profile = site.deployment, site.deployment.session.profile_name
    options = {
        "--profile": "" if profile == "default" else profile,
        "--region": deployment.session.region_name,
        "--stack": deployment.stack_name,
        "--endpoint-url": deployment.endpoint_url,
        "--open": path,
    }
    given = [word for option, value in options.items() if value for word in (option, value)]
    command = shlex.join(["rolekeeper", "console", *given])
    return page(request, "share.html", title="Share this page", path=path, command=command, lasting=site.lasting)


ROUTES = [Route("/share", share)]
