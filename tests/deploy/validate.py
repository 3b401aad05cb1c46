"""Validates the documents on stdin, a JSON list, against each folder of Kubernetes schemas, or the one schema, that is named.

The folders are those of the `-local-strict` kind: one file for each version of each kind, no field beyond it allowed.
"""

import functools
import json
import pathlib
import sys

import jsonschema


def name_of(document):
    group, _, version = document["apiVersion"].rpartition("/")
    parts = [document["kind"], group.split(".")[0], version]
    return "-".join(part for part in parts if part).lower()


@functools.cache
def read(path):
    """The schema, without the address in the net that it gives itself."""
    schema = json.loads(path.read_text())
    schema.pop("$id", None)
    schema.pop("id", None)
    return schema


class Definitions(jsonschema.RefResolver):
    """Knows where a definition is, in place of searching all of them for it."""

    def resolve_fragment(self, document, fragment):
        return functools.reduce(lambda part, name: part[name], fragment.strip("/").split("/"), document)


@functools.cache
def resolver_of(folder):
    """Knows the one file that all others of the folder refer to."""
    definitions = folder / "_definitions.json"
    return Definitions("", {}, store={f"/api/{definitions.name}": read(definitions)})


def faults_of(document, place):
    path = place / f"{name_of(document)}.json" if place.is_dir() else place
    if not path.exists():
        yield f"there is no schema {path.name}"
        return
    resolver = resolver_of(place) if place.is_dir() else Definitions("", read(path))
    for fault in jsonschema.Draft202012Validator(read(path), resolver=resolver).iter_errors(document):
        yield f"{'.'.join(map(str, fault.absolute_path))}: {fault.message[:300]}"


documents = json.load(sys.stdin)
wrong = [
    f"{place.name}: {document.get('kind', '')} {document.get('metadata', {}).get('name', '')}: {fault}"
    for place in map(pathlib.Path, sys.argv[1:])
    for document in documents
    for fault in faults_of(document, place)
]
print("\n".join(wrong) or f"{len(documents)} documents are valid")
sys.exit(bool(wrong))
