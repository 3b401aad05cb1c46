"""Validates the Kubernetes documents on stdin, a JSON list, against each folder of schemas that is named.

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


def faults_of(document, folder):
    path = folder / f"{name_of(document)}.json"
    if not path.exists():
        yield f"there is no schema {path.name}"
        return
    validator = jsonschema.Draft202012Validator(read(path), resolver=resolver_of(folder))
    for fault in validator.iter_errors(document):
        yield f"{'.'.join(map(str, fault.absolute_path))}: {fault.message[:300]}"


documents = json.load(sys.stdin)
wrong = [
    f"{folder.name}: {document['kind']} {document['metadata']['name']}: {fault}"
    for folder in map(pathlib.Path, sys.argv[1:])
    for document in documents
    for fault in faults_of(document, folder)
]
print("\n".join(wrong) or f"{len(documents)} documents are valid")
sys.exit(bool(wrong))
