"""What a profile already holds of a campaign that is only planned: labels that need not be computed again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiida_hqe.campaign.schema import Campaign


def reuse(profile: str, campaign: Campaign, directory: Path) -> str:
    """One sentence on the labels of a profile that would not be computed again.

    A label is found again by the frame and the level. A campaign is determined by its file: same settings, seed and system
    files, same frames. So the labels of an equal earlier campaign are all reused; of another one, only those of the same level
    can be, and which, no one can tell before its frames are sampled.

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
    from aiida_hqe.calculations.label import level_key
    from aiida_hqe.cli import profile as profiles
    from aiida_hqe.provenance import labelled_at

    profiles.load(profile)
    equal = _equal_campaigns(campaign, directory)
    if equal:
        pk, labels = max(equal, key=lambda found: found[1])
        return f"{labels} labels, those of the equal campaign {pk} in profile {profile!r}"
    held = sum(node.n_frames for node in labelled_at(level_key(campaign.levels)))
    if not held:
        return f"nothing: profile {profile!r} holds no label of this level"
    return f"of the {held} labels of this level in profile {profile!r} those whose frames are sampled again"


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
