"""Small projects as their tools' own documentation shows them: nothing in them knows of sealrun.

Each tool writes where it does by itself: beside its input, into its working folder, into HOME.
"""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """A project's files, what is typed in it, what is seen, and what it wrote beside its files and is given."""

    files: dict[str, str]
    typed: tuple[str, ...]
    seen: str
    written: tuple[str, ...] = ()


def _notebook(*cells: tuple[str, str]) -> str:
    """Cells of code, each with a tag or without one."""
    made = [
        {
            "id": f"cell{number}",
            "cell_type": "code",
            "execution_count": None,
            "metadata": {"tags": [tag] if tag else []},
            "outputs": [],
            "source": source,
        }
        for number, (tag, source) in enumerate(cells)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": made})


SCRIPT = """
import csv
import logging
import sqlite3

logging.basicConfig(filename="report.log", level=logging.INFO)
logging.info("started")

db = sqlite3.connect("shop.db")
db.execute("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, amount REAL)")
db.execute("INSERT INTO orders (amount) VALUES (12.5)")
db.commit()

with open("report.csv", "w") as file:
    csv.writer(file).writerows(db.execute("SELECT id, amount FROM orders"))
print(open("report.csv").read().strip(), "of", db.execute("SELECT count(*) FROM orders").fetchone()[0])
"""

DBT = Job(
    {
        "dbt_project.yml": "name: shop\nversion: '1.0'\nconfig-version: 2\nprofile: shop\n"
        "models:\n  shop:\n    +materialized: table\n",
        "profiles.yml": "shop:\n  target: dev\n  outputs:\n    dev:\n      type: duckdb\n      path: shop.duckdb\n",
        "seeds/orders.csv": "id,amount\n1,12.5\n2,7.5\n",
        "models/totals.sql": "select count(*) as orders, sum(amount) as amount from {{ ref('orders') }}\n",
        "models/schema.yml": "models:\n  - name: totals\n    columns:\n      - name: amount\n"
        "        data_tests: [not_null]\n",
    },
    ("--", "dbt", "build"),
    "Completed successfully",
    ("target/manifest.json", "logs/dbt.log", "shop.duckdb"),
)

PAPERMILL = Job(
    {
        "sales.ipynb": _notebook(
            ("parameters", "share = 0.5"), ("", "open('share.txt', 'w').write(str(share))\nprint('share', share)")
        )
    },
    ("--", "papermill", "sales.ipynb", "out.ipynb", "-p", "share", "0.25", "--log-output"),
    "share 0.25",
    ("out.ipynb", "share.txt"),
)

NBCONVERT = Job(
    {"sales.ipynb": _notebook(("", "open('sum.txt', 'w').write('42')\nprint('sum', 40 + 2)"))},
    ("--", "jupyter", "nbconvert", "--to", "html", "--execute", "sales.ipynb"),
    "sales.html",
    ("sales.html", "sum.txt"),
)

_DJANGO_SETTINGS = """
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "django-insecure-of-a-test"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"file": {"level": "DEBUG", "class": "logging.FileHandler", "filename": BASE_DIR / "debug.log"}},
    "loggers": {"django": {"handlers": ["file"], "level": "DEBUG", "propagate": True}},
}
"""

_MANAGE = """#!/usr/bin/env python
import os
import sys


def main():
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
"""

DJANGO = Job(
    {"manage.py": _MANAGE, "mysite/__init__.py": "", "mysite/settings.py": _DJANGO_SETTINGS},
    ("manage.py", "migrate"),
    "Applying sessions.0001_initial... OK",
    ("db.sqlite3", "debug.log"),
)

MATPLOTLIB = Job(
    {
        "plot.py": "import matplotlib\nimport matplotlib.pyplot as plt\n\n"
        "plt.plot([1, 2, 3], [3, 1, 2])\nplt.title('Sales')\nplt.savefig('sales.png')\n"
        "import os\nprint('fonts', os.listdir(matplotlib.get_cachedir()))\n"
    },
    ("plot.py",),
    "fontlist",
    ("sales.png",),
)

UV = Job(
    {
        "pyproject.toml": '[project]\nname = "greet"\nversion = "0.1.0"\nrequires-python = ">=3.9"\n'
        'dependencies = ["cowsay"]\n\n[project.scripts]\ngreet = "greet:main"\n\n'
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n',
        "src/greet/__init__.py": "def main():\n    import cowsay\n    cowsay.cow('hello of uv')\n",
    },
    ("--", "uv", "run", "greet"),
    "hello of uv",
    ("uv.lock",),
)

PIPX = Job(
    {"job.py": "x = {  'a':1 }\n"},
    ("--", "black", "."),
    "1 file reformatted",
    ("job.py",),
)

MAKE = Job(
    {
        "Makefile": "all: build/report.txt\n\nbuild/report.txt: data.csv\n\tmkdir -p build\n"
        "\tsort data.csv > $@.tmp\n\tmv $@.tmp $@\n\t@echo made $@\n\nclean:\n\trm -rf build\n",
        "data.csv": "2,b\n1,a\n",
    },
    ("--", "make", "all"),
    "made build/report.txt",
    ("build/report.txt",),
)

PYTEST = Job(
    {
        "test_shop.py": "def test_total(tmp_path):\n    (tmp_path / 'a').write_text('1')\n"
        "    assert sum([1, 2]) == 3\n\n\ndef test_again():\n    assert True\n",
    },
    ("--", "pytest"),
    "2 passed",
)

NPM = Job(
    {
        "package.json": json.dumps(
            {
                "name": "greeting",
                "version": "1.0.0",
                "private": True,
                "scripts": {"start": "node index.js"},
                "dependencies": {"picocolors": "^1.1.0"},
            }
        ),
        "index.js": "const fs = require('fs');\nconst colors = require('picocolors');\n"
        "fs.writeFileSync('greeting.txt', 'hello of node');\nconsole.log(colors.bold('hello of node'));\n",
    },
    ("--", "sh", "-c", "npm install && npm start"),
    "hello of node",
    ("package-lock.json", "greeting.txt"),
)

JOBS = {
    "dbt": DBT,
    "papermill": PAPERMILL,
    "nbconvert": NBCONVERT,
    "django": DJANGO,
    "matplotlib": MATPLOTLIB,
    "uv": UV,
    "pipx": PIPX,
    "make": MAKE,
    "pytest": PYTEST,
    "npm": NPM,
}


def lay_out(job: Job, folder: Path) -> None:
    """Write a project's files as its author would have them."""
    for name, text in job.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def install(folder: Path, uv: Path) -> list[Path]:
    """The tools, from PyPI, as an operator has them on a machine; their folders for PATH."""
    environ = {**os.environ, "UV_SYSTEM_CERTS": "true", "UV_NO_CONFIG": "1"}
    sets = {
        # The newest dbt-core takes a part of itself from GitHub while it is installed.
        "dbt": ("dbt-core<1.12", "dbt-duckdb<1.11"),
        "jobs": ("papermill", "nbconvert", "ipykernel", "matplotlib", "django", "pytest", "pipx"),
    }
    for name, packages in sets.items():
        subprocess.run([uv, "venv", "-q", "--python", "/usr/bin/python3", folder / name], check=True, env=environ)
        python = folder / name / "bin" / "python"
        subprocess.run([uv, "pip", "install", "-q", "--python", python, *packages], check=True, env=environ)
    tools = folder / "uv"
    tools.mkdir()
    shutil.copy(uv, tools)
    return [folder / "jobs" / "bin", folder / "dbt" / "bin", tools]


def install_by_pipx(package: str, home: Path, pipx: Path) -> None:
    """A tool in a home, as `pipx install` puts it there; its program is in `.local/bin`."""
    environ = {**os.environ, "HOME": str(home)}
    command = [pipx, "install", "--quiet", "--python", "/usr/bin/python3", package]
    subprocess.run(command, check=True, env=environ, capture_output=True)
