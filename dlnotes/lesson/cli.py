"""The command line: ``python -m lessons …``, and the same options for each script that is run by itself."""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dlnotes.lesson import choosing, contents, report, session, verdicts
from dlnotes.lesson.contents import UsageError
from dlnotes.lesson.settings import seeds_from

if TYPE_CHECKING:
    from dlnotes.lesson.plans import Options

__all__ = ["command_line", "lesson_main"]

_EPILOG = """examples:
  python -m lessons                              the lessons: questions, time and last verdicts
  python -m lessons run momentum                 one lesson: answers, what they rest on, a figure
  python -m lessons run dropout                  which lessons are about a word
  python -m lessons run linear --jobs 2          a chapter, two seeds at a time
  python -m lessons run 1.18 --quick             the lesson that tests a statement, small: it concludes nothing
  python -m lessons run momentum --help          what a lesson predicts, and what can be set (--set NAME=VALUE)
  python -m lessons test 1.18                    the tests that hold a statement, a lesson or a chapter
"""


def command_line(arguments: Sequence[str], *, tour: Sequence[str]) -> int:
    """Run ``python -m lessons``: list, run, test, tour, tune, recheck, report, download. Returns the exit code.

    Args:
        arguments: what was typed after ``python -m lessons``.
        tour: the lessons that ``tour`` runs.
    """
    return _guarded(lambda: _dispatch(arguments, tour))


def lesson_main(name: str) -> None:
    """Run the lesson whose script is running: its last line is ``lesson.main("its name")``.

    From a terminal it takes the options of ``python -m lessons run`` and ends the process with an exit code where
    something failed. In a notebook or on a page of the site it takes none, and leaves the figure open to be shown.

    What runs is the lesson's file. In a notebook whose cells are not those of the file the cells run; what they measure
    is neither kept nor looked up, and has another name than the lesson's results.
    """
    caller = sys._getframe(1)
    if caller.f_globals.get("__name__") != "__main__":  # the lesson is imported, and what imports it will run it
        return
    as_page = "sphinx_gallery" in sys.modules or session.in_notebook()
    file = caller.f_code.co_filename
    typed = session.is_typed(file)

    def run() -> int:
        path = contents.lesson_named(name).path if typed else Path(file).resolve()
        if path.stem != name:
            raise UsageError(f"the lesson in {path.name} calls itself {name!r}: the name must be the file's")
        lesson = contents.lesson_at(path)
        of_the_session = session.in_notebook() or (session.is_session() and not Path(file).is_file())
        options = _script_parser(lesson).parse_args([] if of_the_session else sys.argv[1:])
        cells = sys.modules["__main__"] if typed and not session.runs_the_script(path) else None
        if cells:
            options.jobs = 1  # other processes have the file alone
        return _run([lesson], options, cells=cells, as_page=as_page)

    if as_page:
        run()
        return
    code = _guarded(run)
    if code:
        sys.exit(code)


def _guarded(run: Callable[[], int]) -> int:
    """Turn what can go wrong into one plain message on stderr and an exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that worker processes are ended too
    session.print_anywhere()
    try:
        return _printed(run)
    except UsageError as error:
        return _fail(str(error), 2)
    except KeyboardInterrupt:
        return _fail("interrupted: the seeds that had ended are kept, and the same command goes on from there", 130)
    except BrokenPipeError:  # the reader of a pipe has gone, as in `… | head`
        _forget_output()
        return 141
    except OSError as error:
        return _fail(_with_notes(error), 1)
    except Exception as error:
        if isinstance(error, _expected()):
            return _fail(_with_notes(error), 1)
        raise


def _with_notes(error: Exception) -> str:
    return " ".join([str(error), *getattr(error, "__notes__", [])])


def _expected() -> Any:
    """The errors of the library whose message says all that a user needs. Imported late: the list needs no PyTorch."""
    from dlnotes.data import DataError
    from dlnotes.training import DivergedError

    return DataError | DivergedError


def _printed(run: Callable[[], int]) -> int:
    """The exit code of ``run``, once all that it printed has left this process.

    Raises:
        OSError: it could not be printed. Python would only say so at its end, in lines of its own.
    """
    try:
        code = run()
    except SystemExit as ended:  # argparse, when it has printed a help
        if ended.code:
            raise
        code = 0
    if sys.stdout is not None:  # a program without a terminal may have none
        sys.stdout.flush()
    return code


def _forget_output() -> None:
    """Let what could not be printed go, or Python would try it again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, code: int) -> int:
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        _forget_output()
        if message == str(error):  # it is what ended the run
            message = f"not all of the output could be written: {message}"
    print(f"lessons: {message}", file=sys.stderr)
    return code


# ----------------------------------------------------------------------------------------------------------------
# Parsing
# ----------------------------------------------------------------------------------------------------------------

_WHAT = "lessons (momentum), chapters (linear), rows (1.18) or files (lessons/linear/momentum.py)"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise UsageError(f"{message} (`{self.prog} --help` lists what there is)")


def _run_options() -> "_Parser":
    options = _Parser(add_help=False)
    add = options.add_argument
    add(
        "--seeds",
        type=seeds_from,
        metavar="S",
        help="other seeds than the declared: 12 (the first twelve), 4-7, or 0,3,9",
    )
    add("--quick", action="store_true", help="two seeds of a small variant, in seconds: it concludes nothing")
    add("--jobs", type=_positive, default=1, metavar="N", help="processes at work at the same time (default: 1)")
    add(
        "--data",
        metavar="NAME",
        help="another data set: letters, fashion_mnist, mnist, not_mnist; another text: planted, python_docs, "
        "tiny_shakespeare, text8, wikitext2, or any file as text:PATH; or all that are there: all",
    )
    add("--device", metavar="D", help="where to train: cpu (default), cuda, cuda:1")
    add("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="change settings of the lesson")
    add("--out", type=Path, metavar="FOLDER", help="where results and figure go (default: output)")
    add("--show", action="store_true", help="open the figure in a window when the lesson has ended")
    add("--fresh", action="store_true", help="measure again, also what an earlier run has measured")
    return options


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expects a number of 1 or more, not {text!r}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m lessons",
        description="Test the statements of the notes. Without a command: list the lessons.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="command", parser_class=_Parser)
    commands.add_parser("list", help="the lessons with their questions, time and last verdicts")
    run = commands.add_parser(
        "run", help="run lessons, by name, chapter, row or file; all if none is named", parents=[_run_options()]
    )
    run.add_argument("what", nargs="*", help=_WHAT)
    tests = commands.add_parser("test", help="run the tests that hold a row, a lesson or a chapter")
    tests.add_argument("what", nargs="+", help=_WHAT)
    commands.add_parser("tour", help="run the lessons that show best what this is about", parents=[_run_options()])
    tune = commands.add_parser("tune", help="choose settings on seeds that no verdict sees", parents=[_run_options()])
    tune.add_argument("what", nargs="+", help="lessons that have settings to choose")
    again = commands.add_parser("recheck", help="measure one seed again where code changed: are the bits the same?")
    again.add_argument("what", nargs="*", help=f"{_WHAT}; all if none is named")
    made = commands.add_parser("report", help="print the answers of the reference run as a table")
    made.add_argument(
        "--write", action="store_true", help="make README.md's tables, ANSWERS.md and results/VERDICTS.md"
    )
    get = commands.add_parser("download", help="fetch a data set into the data root, and check it")
    get.add_argument("name", help="fashion_mnist or mnist")
    return parser


def _script_parser(lesson: contents.Lesson, *, prog: str = "") -> argparse.ArgumentParser:
    rows = f" It tests {', '.join(lesson.rows)} of the notes." if lesson.rows else ""
    return _Parser(
        prog=prog or lesson.path.name,
        description=f"{lesson.title}{rows}",
        epilog=report.help_of(lesson, contents.results_folder()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[_run_options()],
    )


_COMMANDS = ("list", "run", "test", "tour", "tune", "recheck", "report", "download")


def _dispatch(arguments: Sequence[str], tour: Sequence[str]) -> int:
    if arguments[:1] == ["run"] and {"-h", "--help"} & set(arguments):
        without = _parser().parse_args([one for one in arguments if one not in ("-h", "--help")])
        chosen = choosing.select(without.what) if without.what else []
        if len(chosen) == 1:
            _script_parser(chosen[0], prog=f"python -m lessons run {chosen[0].name}").print_help()
            return 0
    if arguments and arguments[0] not in _COMMANDS and not arguments[0].startswith("-"):
        near = choosing.nearest(arguments[0], _COMMANDS)
        chosen = [] if near else choosing.select(arguments[:1])
        typed = f"run {arguments[0]}" if chosen else near[0]
        raise UsageError(f"unknown command {arguments[0]!r}. Type: python -m lessons {typed}")
    options = _parser().parse_args(arguments)
    if options.command in (None, "list"):
        print(report.summary([contents.output_folder(), contents.results_folder()]))
        print("\nrun one:  python -m lessons run NAME      help:  python -m lessons --help      words:  GLOSSARY.md")
        return 0
    if options.command == "run":
        return _run(choosing.select(options.what), options)
    if options.command == "test":
        return _test(choosing.tests_of(options.what))
    if options.command == "tour":
        return _tour([contents.lesson_named(name) for name in tour], options)
    if options.command == "tune":
        return _tune(choosing.select(options.what, command="tune"), options)
    if options.command == "recheck":
        return _recheck(choosing.select(options.what, command="recheck"))
    if options.command == "download":
        return _download(options.name)
    return _report(options.write)


# ----------------------------------------------------------------------------------------------------------------
# Commands
# ----------------------------------------------------------------------------------------------------------------


def _run(
    chosen: Sequence[contents.Lesson],
    options: argparse.Namespace,
    *,
    cells: ModuleType | None = None,
    as_page: bool = False,
) -> int:
    from dlnotes.lesson import runner

    runner.run(chosen, _checked(options), cells=cells, as_page=as_page)
    return 0


def _tour(chosen: Sequence[contents.Lesson], options: argparse.Namespace) -> int:
    from dlnotes.lesson import runner

    figures = runner.run(chosen, _checked(options))
    print("The figures:")
    for figure in figures:
        print(f"  {report.where(figure)}")
    print(
        "Everything:  make lessons      one lesson:  python -m lessons run NAME      what there is:  python -m lessons"
    )
    return 0


def _tune(chosen: Sequence[contents.Lesson], options: argparse.Namespace) -> int:
    from dlnotes.lesson import runner

    runner.tune(chosen, _checked(options))
    return 0


def _test(tests: Sequence[str]) -> int:
    """Run tests by pytest, in a process of its own, from the root of the checkout."""
    if find_spec("pytest") is None:
        raise UsageError("the tests need pytest. Type: pip install -c constraints.txt -e '.[test,pronunciation]'")
    print(f"{contents.CHECKOUT}: pytest {' '.join(tests)}\n", flush=True)
    try:
        return subprocess.run([sys.executable, "-m", "pytest", "-q", *tests], cwd=contents.CHECKOUT).returncode
    except KeyboardInterrupt:
        return _fail("interrupted: not all tests have run", 130)


def _recheck(chosen: Sequence[contents.Lesson]) -> int:
    from dlnotes.lesson import runner

    try:
        return runner.recheck(chosen)
    except KeyboardInterrupt:
        return _fail("interrupted: what is said above stands, and the other lessons were not measured again", 130)


def _download(name: str) -> int:
    from dlnotes import data

    _check_data(name, (*data.names(), *data.texts()))
    try:
        print(data.download(name))
    except KeyboardInterrupt:
        return _fail("interrupted: files that had come whole are kept, and the same command goes on from there", 130)
    return 0


def _report(write: bool) -> int:
    folder = contents.results_folder()
    print(verdicts.table_of_answers(folder))
    if write:
        from dlnotes.files import write_whole

        readme = contents.CHECKOUT / "README.md"
        made = {readme: verdicts.readme_with_table(readme.read_text(encoding="utf-8"), folder)}
        made[contents.CHECKOUT / verdicts.ANSWERS] = verdicts.page_of_answers(folder)
        made[folder / verdicts.PAGE] = verdicts.page_of_verdicts(folder)
        for path, text in made.items():  # once both are made
            print(f"written  {report.where(write_whole(path, text))}")
    return 0


def _check_data(name: str, known: Sequence[str]) -> None:
    if unknown := choosing.unknown_data(name, known):
        raise UsageError(unknown)


def _checked(given: argparse.Namespace) -> "Options":
    """The options, once it is known that they go together and that the device exists."""
    from dlnotes.lesson.plans import Options

    if given.quick and given.seeds is not None:
        raise UsageError("--quick has seeds of its own: give --seeds or --quick")
    if given.data is not None:
        from dlnotes import data

        _check_data(given.data, (*data.names(), *data.texts(), "all"))
    if given.device:
        import torch

        try:
            torch.empty(0, device=given.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"the device {given.device!r} cannot be used here: {reason}") from error
    return Options(
        quick=given.quick,
        seeds=given.seeds,
        jobs=given.jobs,
        data=given.data,
        device=given.device,
        settings=tuple(given.set),
        out=given.out,
        show=given.show,
        fresh=given.fresh,
    )
