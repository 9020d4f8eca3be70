"""Mutated files against the readers: see docs/security.md.

python -m fuzz.drive --cases 20000                    mutations in worker processes with limits
python -m fuzz.drive --target archive --cases 2000    of archives: reading them, and extracting them
python -m fuzz.coverage tests/data/corpus/sound       the readers under atheris, where it is installed
python -m fuzz.table                                  the figures of docs/security.md from reports
python -m fuzz.corpus                                 writes the committed corpus after a change of the format
"""
