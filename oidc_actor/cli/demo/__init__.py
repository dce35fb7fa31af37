"""The demo: a story in four scenes (`story`) on a stage (`stage`), shown live or as lines (`view`)."""
