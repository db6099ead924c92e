"""What a profile already holds of a campaign that is only planned: labels that need not be computed again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiida_hqe.campaign.schema import Campaign


def reuse(profile: str, campaign: Campaign, directory: Path) -> str:
    """One sentence on what AiiDA's caching would hand out again in a profile.

    A campaign is determined by its file: same settings, seed and system files, same frames. So the labels of an equal earlier
    campaign are those that caching reuses; of another one, none can be told before its frames are sampled.

    Parameters
    ----------
    profile
        Name of the AiiDA profile.
    campaign, directory
        Checked campaign, and the folder that its paths are relative to.

    Raises
    ------
    InputError
        There is no such profile.
    """
    from aiida_hqe.cli import profile as profiles

    profiles.load(profile)
    if not _caches():
        return f"nothing: caching of hqe.* is off in profile {profile!r}"
    equal = _equal_campaigns(campaign, directory)
    if not equal:
        return f"no equal campaign in profile {profile!r}: what is reused is known only once frames are sampled"
    pk, labels = max(equal, key=lambda found: found[1])
    return f"{labels} labels, those of the equal campaign {pk} in profile {profile!r}"


def _caches() -> bool:
    from aiida.manage.caching import get_use_cache

    return get_use_cache(identifier="aiida.calculations:hqe.label")


def _equal_campaigns(campaign: Campaign, directory: Path) -> list[tuple[int, int]]:
    """Pk and number of labels of the campaigns with the same settings (their name apart) and the same files."""
    from aiida_hqe import queries
    from aiida_hqe.workchains.submission import folder

    wanted, files = _settings(campaign.model_dump(mode="json")), folder(campaign, directory).base.repository.hash()
    pks = queries.campaigns()
    documents = queries.linked(pks, "campaign", project="attributes", inputs=True)
    folders = queries.linked(pks, "files", project="*", inputs=True)
    return [
        (pk, queries.reused_labels(pk)[1])
        for pk, document in documents.items()
        if _settings(document) == wanted and pk in folders and folders[pk].base.repository.hash() == files
    ]


def _settings(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "name"}
