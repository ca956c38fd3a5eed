"""The facts of registry/, typed: its YAML and CSV files as frozen records.

Each accessor reads its file once; `folder` names another registry folder. A record's `source` says where its facts
stand and `checked` when they were last looked up. Every accessor raises RegistryError with file and line for a file
that breaks its schema.
"""
