"""Models of this site: the shipped packages and the catalog's, as one listing."""

import re

from services.api.answers import ModelAnswer, ModelDetail, ModelPage, contract_of
from services.api.paging import read_page, write_cursor
from services.core.catalog.entries import ModelStage
from services.core.catalog.stages import Stages
from services.core.model.package import ModelPackage, shipped_names, shipped_package
from services.core.site import Site

_DIGEST = re.compile(r"[0-9a-f]{64}")


def model_page(site: Site, *, cursor: str | None, limit: int) -> ModelPage:
    """A page: the shipped ones by name, then the site's own, newest first.

    Raises:
        RequestError: A cursor of another listing.
    """
    found = read_page("models", cursor, limit, lambda after, count: _models_after(site, after, count))
    models = found[:limit]
    stages = Stages(site.catalog).stages([model.digest for model in models])
    return ModelPage(
        models=[model.model_copy(update={"stage": stages.get(model.digest)}) for model in models],
        next=_cursor(models[-1]) if len(found) > limit else None,
    )


def model_detail(site: Site, package: ModelPackage) -> ModelDetail:
    """One package with its card."""
    stages = Stages(site.catalog)
    summary = _summary(package, stages.stage(package.digest))
    return ModelDetail.of_package(package, summary, stages.stage_history(package.contract.name))


def _cursor(last: ModelAnswer) -> str:
    return write_cursor("models", last.name if last.source == "shipped" else last.digest)


def _models_after(site: Site, after: str | None, count: int) -> list[ModelAnswer]:
    shipped = [shipped_package(name) for name in sorted(shipped_names())]
    past = after is not None and _DIGEST.fullmatch(after) is not None  # names are shorter than digests
    page = [] if past else [_summary(package) for package in shipped if after is None or package.contract.name > after]
    if len(page) >= count:
        return page[:count]
    known = {package.digest for package in shipped}
    # A run registers the shipped package it used as well: ask for as many more as may be left out.
    own = site.catalog.models(limit=count + len(known), after=after if past else None)
    page += [
        ModelAnswer.of(contract_of(model), model.digest, source="catalog", stage=None)
        for model in own
        if model.digest not in known
    ]
    return page[:count]


def _summary(package: ModelPackage, stage: ModelStage | None = None) -> ModelAnswer:
    shipped = any(shipped_package(name).digest == package.digest for name in shipped_names())
    return ModelAnswer.of(package.contract, package.digest, source="shipped" if shipped else "catalog", stage=stage)
