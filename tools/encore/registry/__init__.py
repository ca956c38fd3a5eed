"""The facts of registry/: its YAML and CSV files as frozen records.

Each accessor reads its file once; `folder` names another registry folder. A record's `source` says
where its facts come from, `checked` when they were last verified there, `note` what a reader should
know. Every accessor raises RegistryError, with file and line, for a file that breaks its schema.
"""
