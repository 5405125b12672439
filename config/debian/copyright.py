"""Writes the copyright of a package: of ours, and of each crate that its program is made of.

Reads what `cargo metadata --format-version 1` prints; the first argument is the crate.
"""

import json
import pathlib
import sys

LICENCES = ("LICENSE", "LICENCE", "COPYING", "UNLICENSE")

# Debian has the whole text of this one on every system.
APACHE = "Version 2.0, January 2004"


def built(metadata, crate):
    """The packages that end up in the programs of a crate."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    todo = [id for id, package in packages.items() if package["name"] == crate]
    found = set(todo)
    while todo:
        for dependency in nodes[todo.pop()]["deps"]:
            kinds = {kind["kind"] for kind in dependency["dep_kinds"]}
            if dependency["pkg"] not in found and None in kinds:
                found.add(dependency["pkg"])
                todo.append(dependency["pkg"])
    return sorted((packages[id] for id in found), key=lambda package: package["name"])


def texts(package):
    """The texts of its licences, as it ships them."""
    folder = pathlib.Path(package["manifest_path"]).parent
    files = (file for file in sorted(folder.iterdir()) if file.name.upper().startswith(LICENCES))
    found = (file.read_text(errors="replace").strip() for file in files if file.is_file())
    return [text for text in found if APACHE not in text]


def indented(text):
    return "\n".join(f" {line.rstrip()}" if line.strip() else " ." for line in text.splitlines())


def main():
    packages = built(json.load(sys.stdin), sys.argv[1])
    print("Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/")
    print("Upstream-Name: stream-agent\n")
    print("Files: *\nCopyright: the maintainers of stream-agent\nLicense: Apache-2.0\n")
    print("License: Apache-2.0\n On Debian the text is in /usr/share/common-licenses/Apache-2.0.\n")
    users = {}
    for package in packages:
        if package["source"] is None:
            continue
        name = f"{package['name']} {package['version']}"
        print(f"Comment: {name}\n Licence: {package['license'] or 'see the text'}")
        if package["authors"]:
            print(" By: " + ", ".join(package["authors"]))
        print()
        for text in texts(package):
            users.setdefault(text, []).append(name)
    for text, names in users.items():
        print("Comment: the licence that comes with " + ", ".join(names))
        print(indented(text) + "\n")


main()
