"""The JSON Schema of both files, from which editors know the keys; the models are its only source."""

from __future__ import annotations

import json

from pushmirror.settings.common import SettingsModel
from pushmirror.settings.publisher import PublisherSettings
from pushmirror.settings.subscriber import SubscriberSettings

SCHEMAS: dict[str, type[SettingsModel]] = {
    "publisher.schema.json": PublisherSettings,
    "subscriber.schema.json": SubscriberSettings,
}


def compose_schema(model: type[SettingsModel]) -> str:
    """Return the JSON Schema of `model` as the text of a file."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | model.model_json_schema()
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"
