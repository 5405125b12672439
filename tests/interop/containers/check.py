"""Holds files of compose and Kubernetes against the schemas that their makers publish.

Arguments: the directory of the schemas, then files. Prints a line for each document that is as its
schema says; ends with 1 and the place of each mistake otherwise.
"""

import json
import pathlib
import sys

import jsonschema_rs
import yaml


def kubernetes(definitions, document):
    """The schema of what a document of Kubernetes says that it is."""
    group, _, version = document["apiVersion"].rpartition("/")
    kind = {"group": group, "version": version, "kind": document["kind"]}
    for name, definition in definitions["$defs"].items():
        if kind in definition.get("x-kubernetes-group-version-kind", []):
            return {"$ref": f"#/$defs/{name}", "$defs": definitions["$defs"]}
    raise SystemExit(f"there is no {kind}")


def main(schemas, files):
    schemas, mistakes = pathlib.Path(schemas), 0
    compose = json.loads((schemas / "compose-spec.json").read_text())
    definitions = json.loads((schemas / "kubernetes.json").read_text())
    for file in files:
        for document in yaml.safe_load_all(pathlib.Path(file).read_text()):
            is_compose = "services" in document
            schema = compose if is_compose else kubernetes(definitions, document)
            what = "compose" if is_compose else document["kind"]
            errors = list(jsonschema_rs.validator_for(schema).iter_errors(document))
            for error in errors:
                place = "/".join(str(part) for part in error.instance_path)
                print(f"{file}: {what}: {place}: {error.message[:300]}", file=sys.stderr)
            mistakes += len(errors)
            if not errors:
                print(f"{file}: {what}")
    return 1 if mistakes else 0


sys.exit(main(sys.argv[1], sys.argv[2:]))
