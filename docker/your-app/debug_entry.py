"""Your app for `flask run`: the app in STACK_APP, with Flask Mayday added if it has none."""

import os

from flask.cli import ScriptInfo

from flask_mayday import Mayday

app = ScriptInfo(app_import_path=os.environ["STACK_APP"], set_debug_flag=False).load_app()
if "mayday" not in app.extensions:
    Mayday(app)
