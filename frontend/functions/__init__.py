"""Custom functions: projects of Python route files, kept in `customFunctions.root` and served under `/<project>`.

projects.py  the files of projects, as the operations change them
loading.py   a project as a Flask application
handle.py    what route files get to work with
service.py   all projects behind one port, loaded when they are first asked for and again after a reload
"""
