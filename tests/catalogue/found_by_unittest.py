"""The tests that unittest would find in the folders that this is given, one name a line.

Read and not imported, which would take all that the tests themselves need.
"""

import ast
import sys
from pathlib import Path

# Where a class ends up whose methods are tests, and whether it awaits them.
ROOTS = {"TestCase": False, "IsolatedAsyncioTestCase": True}


def last_name(node):
    """What a name ends with: `skip` of `unittest.skip("why")`."""
    if isinstance(node, ast.Call):
        node = node.func
    return getattr(node, "attr", getattr(node, "id", ""))


def is_skipped(node):
    """Whether a decorator skips a class or a method whatever the circumstances are."""
    for decorator in node.decorator_list:
        condition = decorator.args[0] if isinstance(decorator, ast.Call) and decorator.args else None
        constant = condition.value if isinstance(condition, ast.Constant) else None
        match last_name(decorator):
            case "skip":
                return True
            case "skipIf" if constant:
                return True
            case "skipUnless" if constant is not None and not constant:
                return True
    return False


class Module:
    """A file: its classes, and where it has others from."""

    def __init__(self, path):
        body = ast.parse(path.read_text(), str(path)).body
        self.path = path
        self.classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
        self.imports = {
            alias.asname or alias.name: (node.module, alias.name)
            for node in body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        # It has its own way to be found, or none.
        if any(isinstance(node, ast.FunctionDef) and node.name == "load_tests" for node in body):
            sys.exit(f"{path}: load_tests is not understood here")
        self.ends_early = any(isinstance(node, ast.Raise) for node in body)


class Finder:
    def __init__(self, folders):
        self.folders = folders
        self.modules = {}

    def module(self, path):
        if path not in self.modules:
            self.modules[path] = Module(path)
        return self.modules[path]

    def imported(self, module, name):
        """The file that a module is in: beside who imports it, or in another of the folders."""
        for folder in [module.path.parent, *self.folders]:
            path = folder / f"{name}.py"
            if path.is_file():
                return self.module(path)
        return None

    def look_up(self, module, name):
        """A class and the file that it is in, or none if it is not ours."""
        if name in module.classes:
            return module, module.classes[name]
        origin, its_name = module.imports.get(name, (None, None))
        elsewhere = origin and self.imported(module, origin)
        return self.look_up(elsewhere, its_name) if elsewhere else None

    def lineage(self, module, node):
        """A class and what it is derived from, nearest first; and the names of those that are not ours."""
        classes, foreign = [node], []
        for base in node.bases:
            found = self.look_up(module, last_name(base))
            if found:
                more, others = self.lineage(*found)
                classes += more
                foreign += others
            else:
                foreign.append(last_name(base))
        return classes, foreign

    def tests_of(self, module, node):
        classes, foreign = self.lineage(module, node)
        awaits = [ROOTS[name] for name in foreign if name in ROOTS]
        if not awaits or any(is_skipped(each) for each in classes):
            return
        seen = set()
        for method in (each for one in classes for each in reversed(one.body)):
            if not isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) or method.name in seen:
                continue
            seen.add(method.name)
            # What nobody awaits does nothing.
            is_run = isinstance(method, ast.FunctionDef) or any(awaits)
            if method.name.startswith("test") and is_run and not is_skipped(method):
                yield method.name

    def tests(self):
        for folder in self.folders:
            # `discover` goes further down in packages only, and there are none.
            for path in sorted(folder.glob("test*.py")):
                module = self.module(path)
                if not module.ends_early:
                    for node in module.classes.values():
                        yield from self.tests_of(module, node)


if __name__ == "__main__":
    print("\n".join(sorted(set(Finder([Path(folder) for folder in sys.argv[1:]]).tests()))))
