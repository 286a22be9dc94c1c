"""Load labrun's plugin: it gives the tests here the fixture `lab`, up and configured."""

pytest_plugins = ["labrun.pytest"]
