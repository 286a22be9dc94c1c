"""The steps of a build, read from what apt and dpkg print under mmdebstrap."""

from __future__ import annotations

from labrun.tasks.provision.image_steps import BuildStep, DiskSteps, TreeSteps

# From a build of debian-12, shortened.
PRINTED = """\
I: running apt-get update...
Get:1 http://mirror bookworm InRelease [151 kB]
Get:4 http://mirror bookworm/main amd64 Packages [8790 kB]
Fetched 9422 kB in 3s (2944 kB/s)
I: downloading packages with apt...
0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.
Need to get 2404 kB of archives.
Get:1 http://mirror bookworm/main amd64 tar amd64 1.34+dfsg-1.2+deb12u1 [836 kB]
Get:2 http://mirror bookworm/main amd64 dpkg amd64 1.21.23 [1568 kB]
Unpacking tar (1.34+dfsg-1.2+deb12u1) ...
Setting up tar (1.34+dfsg-1.2+deb12u1) ...
Unpacking dpkg (1.21.23) ...
Setting up dpkg (1.21.23) ...
0 upgraded, 1 newly installed, 0 to remove and 0 not upgraded.
Need to get 26.7 MB of archives.
Get:1 http://mirror bookworm/main amd64 linux-image-cloud-amd64 amd64 6.1.192-3 [26.7 MB]
Unpacking linux-image-cloud-amd64 (6.1.192-3) ...
Setting up linux-image-cloud-amd64 (6.1.192-3) ...
Setting up tar (1.34+dfsg-1.2+deb12u1) ...
"""


def shown(words: str, step: BuildStep) -> str:
    return " | ".join(filter(None, (words, str(step), str(step.amount or ""))))


def test_a_tree_has_five_steps_with_their_amounts() -> None:
    said: list[str] = []
    steps = TreeSteps(lambda words, step: said.append(shown(words, step)), 8)
    steps.begin()
    for line in PRINTED.splitlines():
        steps.follow(line)
    assert said == [
        "fetching package lists | step 1 of 8",
        "fetching package lists | step 1 of 8 | 0 MB",
        "fetching package lists | step 1 of 8 | 9 MB",
        "fetching base packages | step 2 of 8 | 0 of 2 MB, 0%",
        "fetching base packages | step 2 of 8 | 1 of 2 MB, 35%",
        "fetching base packages | step 2 of 8 | 2 of 2 MB, 100%",
        "installing base packages | step 3 of 8 | 0 of 2 packages, 0%",
        "installing base packages | step 3 of 8 | 1 of 2 packages, 50%",
        "installing base packages | step 3 of 8 | 1 of 2 packages, 50%",
        "installing base packages | step 3 of 8 | 2 of 2 packages, 100%",
        "fetching packages | step 4 of 8 | 0 of 27 MB, 0%",
        "fetching packages | step 4 of 8 | 27 of 27 MB, 100%",
        "installing packages | step 5 of 8 | 0 of 1 packages, 0%",
        "installing packages | step 5 of 8 | 1 of 1 packages, 100%",
        "installing packages | step 5 of 8 | 1 of 1 packages, 100%",
    ]


def test_a_disk_alone_has_three_steps_and_behind_a_tree_the_last_three() -> None:
    said: list[str] = []
    for before in (0, 5):
        steps = DiskSteps(lambda words, step: said.append(shown(words, step)), before)
        for words in ("root file system", "boot loader", "qcow2"):
            steps(words, 0.5)
    assert said == [
        "root file system | step 1 of 3",
        "boot loader | step 2 of 3",
        "qcow2 | step 3 of 3",
        "root file system | step 6 of 8",
        "boot loader | step 7 of 8",
        "qcow2 | step 8 of 8",
    ]


def test_what_is_no_step_has_no_number() -> None:
    assert shown("waiting for another build", BuildStep()) == "waiting for another build"
