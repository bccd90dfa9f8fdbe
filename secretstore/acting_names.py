"""The names that something acts on, and the one rule for them.

**Whoever may only store a secret or a variable must not thereby run code in other people's runs.** A name is in this
table if merely setting it makes a program run, load or fetch code that its caller did not ask for. Each group says who
acts, and which of three things follows:

- `NEVER`: nobody may set it, since it acts before the run's own code does, or on what sealrun starts for it. The run's
  own code may, for what it starts.
- `SUBMITTER`: it may not be stored. Whoever submits a run may set it for that run, by `--env` or `--env-file`: the code
  is theirs anyway. Some names have values that can do no harm, and that may be stored.
- `ASKED`: it may be stored, once whoever stores it has confirmed that; the audit log tells. It decides from where, or
  past whom, packages are fetched.

Names that merely look alike (`LD_ACCESS_TOKEN`, `GIT_TOKEN`, `AWS_PROFILE`) are fine, so patterns stand only where a
family is open. Fine, too, are names that a program reads for itself and that pick among its own modules (`FLASK_APP`,
`DJANGO_SETTINGS_MODULE`). A name that leads to a file for a tool (`KUBECONFIG`, `AWS_CONFIG_FILE`) is not in the table,
unless the file is a list of commands: people need them, and the documentation says that such files are code.

The groups follow glibc's `unsecvars.h`, sudo's table of bad variables and the manuals of the programs. The standard
library only: processes that see plaintext import this.
"""

import re
from dataclasses import dataclass
from enum import Enum


class Rule(Enum):
    """Who may set a name."""

    NEVER = "never"
    SUBMITTER = "submitter"
    ASKED = "asked"


@dataclass(frozen=True)
class Group:
    """Names with one reason and one rule."""

    reason: str
    rule: Rule
    names: frozenset[str]
    family: re.Pattern[str] | None = None
    """Further names, matched as a whole."""
    harmless: re.Pattern[str] | None = None
    """Values, matched as a whole, with which the name may be stored all the same."""
    unless: str = ""
    """The same in words, after "unless"."""


def group_of(name: str) -> Group | None:
    """Return the group of a name that something acts on, None for all other names."""
    if (group := _BY_NAME.get(name)) is not None:
        return group
    return next((one for one in _FAMILIES if one.family is not None and one.family.fullmatch(name)), None)


def _group(
    rule: Rule, reason: str, names: str, *, family: str = "", harmless: str | None = None, unless: str = ""
) -> Group:
    value = None if harmless is None else re.compile(harmless, re.ASCII)
    pattern = re.compile(family, re.ASCII) if family else None
    return Group(reason, rule, frozenset(names.split()), pattern, value, unless)


_SIZES = r"\s*(?:(?:-X(?:m[snx]|ss)\d+[kKmMgG]?|-XX:Max\w*Size=\d+[kKmMgG]?|-XX:MaxRAMPercentage=[\d.]+)(?:\s+|\Z))*"

_NEVER = (
    _group(
        Rule.NEVER,
        "the dynamic loader acts on it before the program starts",
        """LD_32_LIBRARY_PATH LD_32_PRELOAD LD_ASSUME_KERNEL LD_AUDIT LD_BIND_NOT LD_BIND_NOW LD_CONFIG LD_DEBUG
        LD_DEBUG_OUTPUT LD_DYNAMIC_WEAK LD_ELF_HINTS_PATH LD_HWCAP_MASK LD_LIBMAP LD_LIBRARY_PATH LD_LIBRARY_PATH_32
        LD_LIBRARY_PATH_64 LD_ORIGIN_PATH LD_POINTER_GUARD LD_PREFER_MAP_32BIT_EXEC LD_PRELOAD LD_PRELOAD_32
        LD_PRELOAD_64 LD_PROFILE LD_PROFILE_OUTPUT LD_SHOW_AUXV LD_TRACE_LOADED_OBJECTS LD_TRACE_PRELINKING
        LD_USE_LOAD_BIAS LD_VERBOSE LD_WARN""",
        family=r"DYLD_\w+",
    ),
    _group(
        Rule.NEVER,
        "the C library acts on it, and may read or write files because of it",
        """GCONV_PATH GETCONF_DIR GLIBC_TUNABLES HOSTALIASES LOCALDOMAIN LOCPATH MALLOC_CHECK_ MALLOC_TRACE NIS_PATH
        NLSPATH PATH_LOCALE POSIXLY_CORRECT RESOLV_HOST_CONF RES_OPTIONS TERMCAP TERMINFO TERMINFO_DIRS TERMPATH
        TZDIR""",
    ),
    _group(
        Rule.NEVER,
        "OpenSSL loads configuration or code from where it says",
        "OPENSSL_CONF OPENSSL_CONF_INCLUDE OPENSSL_ENGINES OPENSSL_MODULES SSLKEYLOGFILE",
    ),
    _group(
        Rule.NEVER,
        "shells act on it, or run what it names",
        """BASHOPTS BASH_COMPAT BASH_ENV BASH_LOADABLES_PATH BASH_XTRACEFD CDPATH EXECIGNORE FCEDIT FIGNORE FPATH
        GLOBIGNORE HISTFILE IFS INPUTRC MAILPATH NULLCMD POSIX_PEDANTIC PROMPT_COMMAND PS0 PS1 PS2 PS3 PS4 READNULLCMD
        SHELLOPTS TMPPREFIX ZDOTDIR""",
        family=r"BASH_FUNC_.*",
    ),
    _group(
        Rule.NEVER,
        "shells keep a value of their own under this name",
        """BASH BASHPID BASH_ARGC BASH_ARGV BASH_ARGV0 BASH_COMMAND BASH_EXECUTION_STRING BASH_LINENO BASH_SOURCE
        BASH_SUBSHELL BASH_VERSINFO BASH_VERSION COMP_WORDBREAKS DIRSTACK EPOCHREALTIME EPOCHSECONDS EUID FUNCNAME
        GROUPS HISTCMD HOSTTYPE LINENO MACHTYPE OLDPWD OPTARG OPTERR OPTIND OSTYPE PIPESTATUS PPID RANDOM SECONDS
        SHLVL SRANDOM UID _""",
    ),
    _group(
        Rule.NEVER,
        "the Python interpreter acts on it",
        """PYTHONASYNCIODEBUG PYTHONBREAKPOINT PYTHONCASEOK PYTHONCOERCECLOCALE PYTHONDEBUG PYTHONDEVMODE
        PYTHONDUMPREFS PYTHONDUMPREFSFILE PYTHONEXECUTABLE PYTHONFAULTHANDLER PYTHONHOME PYTHONINSPECT
        PYTHONINTMAXSTRDIGITS PYTHONIOENCODING PYTHONLEGACYWINDOWSFSENCODING PYTHONLEGACYWINDOWSSTDIO PYTHONMALLOC
        PYTHONMALLOCSTATS PYTHONNODEBUGRANGES PYTHONNOUSERSITE PYTHONOPTIMIZE PYTHONPATH PYTHONPERFSUPPORT
        PYTHONPLATLIBDIR PYTHONPROFILEIMPORTTIME PYTHONPYCACHEPREFIX PYTHONSAFEPATH PYTHONSTARTUP PYTHONTHREADDEBUG
        PYTHONTRACEMALLOC PYTHONUSERBASE PYTHONVERBOSE PYTHONWARNDEFAULTENCODING PYTHON_BASIC_REPL PYTHON_COLORS
        PYTHON_CONTEXT_AWARE_WARNINGS PYTHON_CPU_COUNT PYTHON_DISABLE_REMOTE_DEBUG PYTHON_FROZEN_MODULES PYTHON_GIL
        PYTHON_HISTORY PYTHON_JIT PYTHON_PERF_JIT_SUPPORT PYTHON_PRESITE PYTHON_THREAD_INHERIT_CONTEXT PYTHON_TLBC
        __PYVENV_LAUNCHER__""",
    ),
    _group(
        Rule.NEVER,
        "it belongs to the environment that sealrun builds for each run",
        "HOME LANGUAGE LC_ALL LC_CTYPE PATH PWD SHELL TEMP TERM TMP TMPDIR",
    ),
)

_SUBMITTER = (
    _group(
        Rule.SUBMITTER,
        "shells run the file that it names, or the command in it",
        "ENV",
        harmless=r"[A-Za-z0-9_-]*",
        unless="it is one word, as production",
    ),
    _group(
        Rule.SUBMITTER,
        "the Python interpreter imports the category that it names",
        "PYTHONWARNINGS",
        harmless=r"[\w:,* ]*",
        unless="it is words and colons without a dot, as ignore::DeprecationWarning",
    ),
    _group(
        Rule.SUBMITTER,
        "matplotlib imports the module that it names",
        "MPLBACKEND",
        harmless=r"[A-Za-z0-9_]*",
        unless="it is a backend's name, as Agg",
    ),
    _group(
        Rule.SUBMITTER,
        "a program of Python's loads what it names, or takes it as options",
        """COVERAGE_PROCESS_START COVERAGE_RCFILE GUNICORN_CMD_ARGS IPYTHONDIR JUPYTER_CONFIG_DIR JUPYTER_CONFIG_PATH
        JUPYTER_DATA_DIR JUPYTER_PATH MATPLOTLIBRC PYSPARK_DRIVER_PYTHON_OPTS PYSPARK_SUBMIT_ARGS PYTEST_ADDOPTS
        PYTEST_PLUGINS""",
        family=r"(?i:DASK_\w*PRELOAD\w*|PYICEBERG_\w+__PY_(?:CATALOG|IO)_IMPL)",
    ),
    _group(
        Rule.SUBMITTER,
        "Spark runs it as its Python",
        "PYSPARK_DRIVER_PYTHON PYSPARK_PYTHON",
        harmless=r"python[0-9.]*",
        unless="it is a Python by name, as python3",
    ),
    _group(
        Rule.SUBMITTER,
        "git and other version control run what it names, or take it as configuration",
        """CVSEDITOR CVS_RSH GIT_ALLOW_PROTOCOL GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_COMMON_DIR GIT_DIR GIT_EDITOR
        GIT_EXEC_PATH GIT_EXTERNAL_DIFF GIT_OBJECT_DIRECTORY GIT_PROTOCOL_FROM_USER GIT_PROXY_COMMAND
        GIT_SEQUENCE_EDITOR GIT_SSH GIT_SSH_COMMAND GIT_SSH_VARIANT GIT_TEMPLATE_DIR GIT_WORK_TREE HG HGEDITOR HGMERGE
        HGRCPATH SVN_EDITOR SVN_SSH""",
        family=r"GIT_CONFIG(?:_\w+)?",
    ),
    _group(
        Rule.SUBMITTER,
        "programs run it to show pages of text",
        """AWS_PAGER BAT_PAGER DELTA_PAGER GH_PAGER GIT_PAGER GLAB_PAGER MANPAGER PAGER PSQL_PAGER SYSTEMD_PAGER""",
        harmless=r"\s*(?:cat)?\s*",
        unless="it is empty or cat",
    ),
    _group(
        Rule.SUBMITTER,
        "less and man run the commands in it, or take it as options",
        """LESS LESSCLOSE LESSEDIT LESSKEY LESSKEYIN LESSKEYIN_SYSTEM LESSKEY_SYSTEM LESSOPEN MANOPT MANROFFOPT
        SYSTEMD_LESS""",
    ),
    _group(
        Rule.SUBMITTER,
        "programs run it as an editor, a browser or a helper",
        """BROWSER BUNDLER_EDITOR EDITOR EXINIT FZF_DEFAULT_COMMAND GEM_EDITOR GH_BROWSER GH_EDITOR GVIMINIT
        KUBECTL_EXTERNAL_DIFF KUBE_EDITOR MAILCAPS R_BROWSER R_PDFVIEWER SELECTED_EDITOR SOPS_EDITOR SUDO_EDITOR
        SYSTEMD_EDITOR VIMINIT VIMRUNTIME VISUAL""",
    ),
    _group(
        Rule.SUBMITTER,
        "programs run it to connect, or to ask for a password",
        """BORG_RSH DBUS_SESSION_BUS_ADDRESS DBUS_STARTER_ADDRESS DBUS_SYSTEM_BUS_ADDRESS
        GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES RSYNC_CONNECT_PROG RSYNC_RSH SSH_ASKPASS_REQUIRE SSH_PKCS11_HELPER
        SSH_SK_HELPER SSH_SK_PROVIDER""",
        family=r"(?:\w+_)?ASKPASS|\w+_PASSCOMMAND|(?:\w+_)?(?:PASS(?:WORD)?|TOKEN|SECRET|KEY)_(?:COMMAND|CMD)|AIRFLOW__\w+_CMD",
    ),
    _group(
        Rule.SUBMITTER,
        "it leads a program to commands or plug-ins, or has options that run some",
        """ANSIBLE_CONFIG ANSIBLE_LIBRARY ANSIBLE_VAULT_PASSWORD_FILE AWS_LAMBDA_EXEC_WRAPPER CURL_HOME HELM_PLUGINS
        IRBRC OCTAVE_SITE_INITFILE OCTAVE_VERSION_INITFILE PGSSLKEY PGSYSCONFDIR PSQLRC PSQL_EDITOR
        RIPGREP_CONFIG_PATH SCREENRC TAR_OPTIONS TF_CLI_CONFIG_FILE WGETRC ZIPOPT""",
        family=r"ANSIBLE_\w+_PLUGINS|TF_CLI_ARGS(?:_\w+)?",
    ),
    _group(
        Rule.SUBMITTER,
        "a library loads code from where it says",
        """CAML_LD_LIBRARY_PATH CUDA_INJECTION32_PATH CUDA_INJECTION64_PATH GDAL_DRIVER_PATH GDAL_PYTHON_DRIVER_PATH
        GIO_EXTRA_MODULES GIO_MODULE_DIR GST_PLUGIN_PATH GST_PLUGIN_PATH_1_0 GTK_MODULES GTK_PATH HDF5_PLUGIN_PATH
        LIBGL_DRIVERS_PATH LIBMYSQL_PLUGINS LIBMYSQL_PLUGIN_DIR LIBVA_DRIVERS_PATH MAGICK_CODER_MODULE_PATH
        MAGICK_CONFIGURE_PATH MARIADB_PLUGIN_DIR OCL_ICD_FILENAMES OCL_ICD_VENDORS OMP_TOOL_LIBRARIES
        PKCS11_MODULE_PATH QT_PLUGIN_PATH QT_QPA_PLATFORM_PLUGIN_PATH SASL_PATH VK_DRIVER_FILES VK_ICD_FILENAMES
        VK_LAYER_PATH""",
        family=r"OMPI_MCA_\w+",
    ),
    _group(
        Rule.SUBMITTER,
        "compilers and builds run what it names, or take it as options",
        """CC CFLAGS COMPILER_PATH CPPFLAGS CXX CXXFLAGS GCC_EXEC_PREFIX GNUMAKEFLAGS GOFLAGS LDFLAGS MAKEFILES
        MAKEFLAGS MFLAGS RUSTC RUSTC_WORKSPACE_WRAPPER RUSTC_WRAPPER RUSTDOC RUSTFLAGS CARGO_ENCODED_RUSTFLAGS""",
        family=r"CARGO_BUILD_RUST\w+|CARGO_TARGET_\w+_(?:LINKER|RUNNER|RUSTFLAGS)|CMAKE_\w+_LAUNCHER|CGO_\w*FLAGS",
    ),
    _group(
        Rule.SUBMITTER,
        "Node.js acts on it",
        "NODE_OPTIONS",
        harmless=r"\s*(?:--max[-_](?:old|semi)[-_]space[-_]size=\d+\s*)*",
        unless="it says sizes of memory only, as --max-old-space-size=4096",
    ),
    _group(
        Rule.SUBMITTER,
        "Node.js acts on it",
        """BUN_OPTIONS NODE_PATH NODE_REDIRECT_WARNINGS NODE_REPL_EXTERNAL_MODULE NODE_REPL_HISTORY NODE_V8_COVERAGE
        TS_NODE_COMPILER""",
        family=r"(?i:p?npm_config_(?:script_shell|shell|node_options|git|editor|viewer|browser|init_module|onload_script))",
    ),
    _group(
        Rule.SUBMITTER,
        "the Java virtual machine acts on it",
        """CATALINA_OPTS GRADLE_OPTS HADOOP_OPTS JAVA_TOOL_OPTIONS JDK_JAVA_OPTIONS KAFKA_OPTS MAVEN_ARGS MAVEN_OPTS
        SBT_OPTS SPARK_SUBMIT_OPTS _JAVA_OPTIONS""",
        family=r"(?:\w+_)?(?:JAVA|JVM)_(?:OPTS|OPTIONS)",
        harmless=_SIZES,
        unless="it says sizes of memory only, as -Xmx2g",
    ),
    _group(Rule.SUBMITTER, "the Java virtual machine acts on it", "CLASSPATH"),
    _group(
        Rule.SUBMITTER,
        "Perl acts on it",
        """PERL5DB PERL5DB_THREADED PERL5LIB PERL5OPT PERL5SHELL PERLIO PERLIO_DEBUG PERLLIB PERL_MB_OPT PERL_MM_OPT
        PERL_UNICODE""",
    ),
    _group(
        Rule.SUBMITTER,
        "Ruby acts on it",
        "BUNDLE_GEMFILE GEMRC GEM_HOME GEM_PATH RAKEOPT RUBYLIB RUBYLIB_PREFIX RUBYOPT RUBYPATH RUBYSHELL",
    ),
    _group(Rule.SUBMITTER, "PHP acts on it", "PHPRC PHP_INI_SCAN_DIR"),
    _group(Rule.SUBMITTER, "Lua acts on it", "", family=r"LUA_(?:INIT|PATH|CPATH)(?:_\d+_\d+)?"),
    _group(
        Rule.SUBMITTER,
        "R acts on it",
        "R_DEFAULT_PACKAGES R_HOME R_LIBS R_LIBS_SITE R_LIBS_USER R_UNZIPCMD R_ZIPCMD RETICULATE_PYTHON",
        family=r"R_(?:PROFILE|ENVIRON)\w*",
    ),
    _group(Rule.SUBMITTER, "Julia acts on it", "JULIA_BINDIR JULIA_DEPOT_PATH JULIA_LOAD_PATH JULIA_PROJECT"),
    _group(
        Rule.SUBMITTER,
        "the Erlang virtual machine acts on it",
        "ELIXIR_ERL_OPTIONS ERL_AFLAGS ERL_FLAGS ERL_LIBS ERL_ZFLAGS",
    ),
    _group(
        Rule.SUBMITTER,
        "the .NET runtime acts on it",
        "DOTNET_ADDITIONAL_DEPS DOTNET_SHARED_STORE DOTNET_STARTUP_HOOKS",
        family=r"(?:COR|CORECLR)_(?:ENABLE_PROFILING|PROFILER\w*)",
    ),
    _group(Rule.SUBMITTER, "Tcl acts on it", "TCLLIBPATH TCL_LIBRARY"),
    _group(Rule.SUBMITTER, "Guile acts on it", "GUILE_EXTENSIONS_PATH GUILE_LOAD_COMPILED_PATH GUILE_LOAD_PATH"),
)

_CREDENTIAL = r"(?!(?i:\w+_(?:USERNAME|PASSWORD|TOKEN|AUTH|AUTH_IDENT)\Z|\w+_HTTP_BASIC_|\w+_TOKEN_))"
"""Who asks an index does not decide which index is asked."""

_ASKED = (
    _group(
        Rule.ASKED,
        "installers act on it: it decides from where packages come",
        "GOINSECURE GONOSUMDB GOPRIVATE GOPROXY GOSUMDB",
        family=_CREDENTIAL
        + r"(?:(?:UV|PIP|PIPENV|POETRY|PDM|CONDA|MAMBA|BUNDLE|COMPOSER|NUGET|YARN|PNPM|BUN_CONFIG|CARGO_REGISTRIES"
        r"|CARGO_REGISTRY|CARGO_SOURCE)_\w+|(?i:p?npm_config_)\w+)",
    ),
    _group(
        Rule.ASKED,
        "installers reach package indexes through it, or trust them because of it",
        """CURL_CA_BUNDLE GIT_SSL_CAINFO GIT_SSL_NO_VERIFY NODE_EXTRA_CA_CERTS NODE_TLS_REJECT_UNAUTHORIZED
        PYTHONHTTPSVERIFY REQUESTS_CA_BUNDLE SSL_CERT_DIR SSL_CERT_FILE""",
        family=r"(?i:https?|all|ftp)_(?i:proxy)",
    ),
)

GROUPS: tuple[Group, ...] = (*_NEVER, *_SUBMITTER, *_ASKED)
"""The table. Where a name is in two families, the first counts."""

_BY_NAME = {name: group for group in reversed(GROUPS) for name in group.names}
_FAMILIES = tuple(group for group in GROUPS if group.family is not None)
