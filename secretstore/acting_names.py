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

**No list of names is complete**: it has what is known of tools that are known. A further tool can be made to act by a
variable that is not here, so whoever may store is trusted nearly as one who runs; the documentation says so.

Names that merely look alike (`LD_ACCESS_TOKEN`, `GIT_TOKEN`, `AWS_PROFILE`) are fine, so patterns stand only where a
family is open. A family is compared with `-` and `.` as `_` as well: npm, pip, Dask and PyIceberg read them so. Fine,
too, are names that a program reads for itself and that pick among its own modules (`FLASK_APP`,
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
    """Further names, matched as a whole, as they are or with `_` for `-` and `.`."""
    harmless: re.Pattern[str] | None = None
    """Values, matched as a whole, with which the name may be stored all the same."""
    unless: str = ""
    """The same in words, after "unless"."""


def group_of(name: str) -> Group | None:
    """Return the group of a name that something acts on, None for all other names."""
    if (group := _BY_NAME.get(name)) is not None:
        return group
    spellings = {name, _FOLDED.sub("_", name)}
    if not any(map(_ANY_FAMILY.fullmatch, spellings)):  # nearly every name
        return None
    return next((one for one, family in _FAMILIES if any(map(family.fullmatch, spellings))), None)


def _group(
    rule: Rule, reason: str, names: str, *, family: str = "", harmless: str | None = None, unless: str = ""
) -> Group:
    value = None if harmless is None else re.compile(harmless, re.ASCII)
    pattern = re.compile(family, re.ASCII) if family else None
    return Group(reason, rule, frozenset(names.split()), pattern, value, unless)


_SIZES = r"\s*(?:(?:-X(?:m[snx]|ss)\d+[kKmMgG]?|-XX:Max\w*Size=\d+[kKmMgG]?|-XX:MaxRAMPercentage=[\d.]+)(?:\s+|\Z))*"

_BELOW_ROOT = r"/(?:usr|opt|etc|bin|sbin)(?:/[\w+-][\w.+-]*)*/?"  # no part begins with a dot: none is ..
_PROGRAM = rf"(?:\w[\w.+-]*|{_BELOW_ROOT})?"
_PROGRAM_UNLESS = "it is a name without a folder, or lies in /usr, /opt, /etc or /bin"
_ADDRESS = r"(?:(?:tcp|tls|ucx|wss?|https?)://)?[\w.-]+:\d{1,5}/?|(?:tcp|tls|ucx|wss?|https?)://[\w.-]+(?::\d{1,5})?/?"

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
        """GCONV_PATH GETCONF_DIR GLIBC_TUNABLES HOSTALIASES LOCALDOMAIN LOCPATH MALLOC_CHECK_ MALLOC_TRACE
        MUSL_LOCPATH NIS_PATH NLSPATH PATH_LOCALE POSIXLY_CORRECT RESOLV_HOST_CONF RES_OPTIONS TERMCAP TERMINFO
        TERMINFO_DIRS TERMPATH TZDIR""",
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
        family=r"_PYTHON_\w+",
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
        """ALEMBIC_CONFIG AZURE_CONFIG_DIR AZURE_EXTENSION_DIR CLOUDSDK_PYTHON_ARGS COVERAGE_PROCESS_START
        COVERAGE_RCFILE GUNICORN_CMD_ARGS IPYTHONDIR JUPYTER_CONFIG_DIR JUPYTER_CONFIG_PATH JUPYTER_DATA_DIR
        JUPYTER_PATH MATPLOTLIBRC PYLINTRC PYSPARK_DRIVER_PYTHON_OPTS PYSPARK_SUBMIT_ARGS PYTENSORRC PYTENSOR_FLAGS
        PYTEST_ADDOPTS PYTEST_PLUGINS PYTHON_KEYRING_BACKEND RAY_RUNTIME_ENV_HOOK RAY_USER_SETUP_FUNCTION THEANORC
        THEANO_FLAGS""",
        family=r"(?i:DASK_(?:ROOT_)?CONFIG|DASK_INTERNAL_\w+|DASK_\w*(?:PRELOAD|ENVIRON)\w*|PYICEBERG_HOME|PYICEBERG_\w*IMPL)",
    ),
    _group(
        Rule.SUBMITTER,
        "Dask takes it as configuration, with modules to import in it",
        "",
        family=r"(?i:DASK_(?!TEMPORARY_DIRECTORY\Z|\w+_(?:PASSWORD|TOKEN)\Z)\w+)",
        harmless=rf"[\w-]*|\d[\d.]*[A-Za-z%]*|{_ADDRESS}",
        unless="it is a word, a number or an address, as tcp://scheduler:8786",
    ),
    _group(
        Rule.SUBMITTER,
        "a tool runs it as its Python, or the one in it",
        """CLOUDSDK_PYTHON CONDA_EXE CONDA_PREFIX CONDA_PYTHON_EXE MAMBA_EXE PDM_PYTHON PIPENV_PYTHON PIP_PYTHON
        PYSPARK_DRIVER_PYTHON PYSPARK_PYTHON QUARTO_PYTHON RETICULATE_PYTHON UV_PROJECT_ENVIRONMENT UV_PYTHON
        VIRTUAL_ENV""",
        family=r"(?i:p?npm_config_python)|PIP_PYTHON",
        harmless=rf"(?:python)?[0-9.]*|\.venv|{_BELOW_ROOT}",
        unless="it is a Python by name or version, as python3, or lies in /usr, /opt, /etc or /bin",
    ),
    _group(
        Rule.SUBMITTER,
        "Airflow imports what is in that folder",
        "AIRFLOW_CONFIG AIRFLOW_HOME AIRFLOW__CORE__DAGS_FOLDER AIRFLOW__CORE__PLUGINS_FOLDER",
        harmless=_PROGRAM,
        unless=_PROGRAM_UNLESS,
    ),
    _group(
        Rule.SUBMITTER,
        "git and other version control run what it names, or take it as configuration",
        """CVSEDITOR CVS_RSH GIT_ALLOW_PROTOCOL GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_COMMON_DIR GIT_DIFFTOOL_EXTCMD
        GIT_DIR GIT_EDITOR GIT_EXEC_PATH GIT_EXTERNAL_DIFF GIT_OBJECT_DIRECTORY GIT_PROTOCOL_FROM_USER
        GIT_PROXY_COMMAND GIT_SEQUENCE_EDITOR GIT_SSH GIT_SSH_COMMAND GIT_SSH_VARIANT GIT_TEMPLATE_DIR GIT_WORK_TREE
        HG HGEDITOR HGMERGE HGRCPATH SVN_EDITOR SVN_SSH""",
        family=r"GIT_CONFIG(?:_\w+)?",
    ),
    _group(
        Rule.SUBMITTER,
        "programs run it to show pages of text",
        "MANPAGER PAGER",
        family=r"\w+_PAGER",
        harmless=r"\s*(?:cat)?\s*",
        unless="it is empty or cat",
    ),
    _group(
        Rule.SUBMITTER,
        "less, bat and man run the commands in it, or take it as options",
        """BAT_CONFIG_PATH BAT_OPTS GROFF_BIN_PATH GROFF_COMMAND_PREFIX GROFF_TMAC_PATH LESS LESSCLOSE LESSECHO
        LESSEDIT LESSKEY LESSKEYIN LESSKEYIN_SYSTEM LESSKEY_CONTENT LESSKEY_SYSTEM LESSOPEN MANOPT MANROFFOPT
        SYSTEMD_LESS""",
    ),
    _group(
        Rule.SUBMITTER,
        "programs run it as an editor, a browser or a helper",
        """ALTERNATE_EDITOR BROWSER BUNDLER_EDITOR EDITOR EXINIT GEM_EDITOR GH_BROWSER GH_EDITOR GVIMINIT JULIA_EDITOR
        KUBECTL_EXTERNAL_DIFF KUBE_EDITOR MAILCAPS MAILRC R_BROWSER R_PDFVIEWER SELECTED_EDITOR SOPS_EDITOR SUDO_EDITOR
        SYSTEMD_EDITOR VIM VIMINIT VIMRUNTIME VISUAL""",
        family=r"FZF_\w+_(?:COMMAND|OPTS(?:_FILE)?)",
    ),
    _group(
        Rule.SUBMITTER,
        "a program takes it as options, and some of them run commands",
        "PARALLEL TARGET_ARCH TARGET_MACH ZIP ZIPOPT",
        harmless=r"(?:\w[\w.-]*)?",
        unless="it is one word without a dash in front",
    ),
    _group(
        Rule.SUBMITTER,
        "a tool runs it, or what is in that folder, as a program",
        """AR AS BROWSER_PATH BUILDAH_RUNTIME CARGO_HOME CC CHROME_BIN CHROME_PATH CO CONFIG_SHELL CPP CTANGLE
        CUDA_HOME CUDA_PATH CWEAVE CXX DATABRICKS_CLI_PATH F77 FC FFMPEG_BINARY FFPROBE_BINARY GCC GET
        GIO_LAUNCH_DESKTOP GOENV GOROOT GRADLE_HOME GST_PLUGIN_SCANNER GVBINDIR JAVA JAVACMD JAVA_HOME JDK_HOME
        JRE_HOME LD LDSHARED LEX LINT M2C M2_HOME MAGICK_HOME MAKE MAKEINFO MAKE_COMMAND MAVEN_HOME MLFLOW_CONDA_HOME
        NM npm_execpath npm_node_execpath NVCC_CCBIN OBJC OBJCOPY OBJDUMP OPAL_PREFIX PARALLEL_SHELL PC PERF_EXEC_PATH
        PKG_CONFIG PLAYWRIGHT_NODEJS_PATH PYENV_ROOT PYENV_VERSION PYPANDOC_PANDOC RANLIB RM RSH RSTUDIO_PANDOC RUSTC
        RUSTDOC RUSTUP_HOME RUSTUP_TOOLCHAIN R_GSCMD R_HOME SE_MANAGER_PATH SOPS_GPG_EXEC STRIP TANGLE TAR
        TERRAGRUNT_TFPATH TEX TEXI2DVI TG_TF_PATH TRITON_PTXAS_PATH VALGRIND_LIB WEAVE YACC""",
        family=r"\w+_(?:EXE|EXECUTABLE|EXECUTABLE_PATH)|HYDRA_\w*EXEC|I_MPI_\w*EXEC|DOTNET_ROOT(?:_\w+|\(x86\))?"
        r"|(?:FLINK|HADOOP|HBASE|HDFS|HIVE|KAFKA|MAPRED|SPARK|YARN|ZOOKEEPER)(?:_\w+)?_(?:HOME|CONF_DIR)",
        harmless=_PROGRAM,
        unless=_PROGRAM_UNLESS,
    ),
    _group(
        Rule.SUBMITTER,
        "programs look there for configuration, plug-ins or compiled code",
        """CUPY_CACHE_DIR HF_MODULES_CACHE NODE_COMPILE_CACHE NUMBA_CACHE_DIR TORCHINDUCTOR_CACHE_DIR TRITON_CACHE_DIR
        XDG_CACHE_HOME XDG_CONFIG_DIRS XDG_CONFIG_HOME XDG_DATA_DIRS XDG_DATA_HOME""",
    ),
    _group(
        Rule.SUBMITTER,
        "programs run it to connect, or to ask for a password",
        """BORG_RSH DBUS_SESSION_BUS_ADDRESS DBUS_STARTER_ADDRESS DBUS_SYSTEM_BUS_ADDRESS
        GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES RSYNC_CONNECT_PROG RSYNC_RSH SSH_ASKPASS_REQUIRE SSH_PKCS11_HELPER
        SSH_SK_HELPER SSH_SK_PROVIDER""",
        family=r"(?:\w+_)?ASKPASS|RCLONE_\w*(?:_SSH|METADATA_MAPPER)|\w+_AUTH_PROVIDER_CMD|\w+_PASSCOMMAND|(?:\w+_)?(?:PASS(?:WORD)?|TOKEN|SECRET|KEY)_(?:COMMAND|CMD)"
        r"|AIRFLOW__\w+_CMD",
    ),
    _group(
        Rule.SUBMITTER,
        "it leads a program to commands or plug-ins, or has options that run some",
        """AWS_LAMBDA_EXEC_WRAPPER CONTAINERS_CONF CURL_HOME DOCKER_CONFIG GNUPGHOME GS_LIB GS_OPTIONS HELM_CONFIG_HOME
        HELM_DATA_HOME HELM_PLUGINS IRBRC KUSTOMIZE_PLUGIN_HOME OCTAVE_SITE_INITFILE OCTAVE_VERSION_INITFILE
        PACKER_CONFIG PACKER_PLUGIN_PATH PARALLEL_HOME PGSSLKEY PGSYSCONFDIR PSQLRC PSQL_EDITOR RIPGREP_CONFIG_PATH
        SCREENRC SQLPATH SYSTEM_WGETRC TAR_OPTIONS TERRAFORM_CONFIG TF_CLI_CONFIG_FILE TF_DATA_DIR
        TF_PLUGIN_CACHE_DIR TF_REATTACH_PROVIDERS VALGRIND_OPTS VAULT_CONFIG_PATH WGETRC""",
        family=r"TF_CLI_ARGS(?:_\w+)?",
    ),
    _group(
        Rule.SUBMITTER,
        "Ansible runs or loads what it names, or takes it as options",
        "",
        family=r"ANSIBLE_(?!\w*(?:USER|USERNAME|PASS|PASSWORD|TOKEN|SSH_KEY|PRIVATE_KEY|PRIVATE_KEY_FILE)\Z)\w+",
        harmless=r"(?:\w[\w.-]*)?",
        unless="it is one word, as False or yaml",
    ),
    _group(
        Rule.SUBMITTER,
        "a library loads code from where it says",
        """ALSA_PLUGIN_DIR ARROW_LIBHDFS_DIR CAML_LD_LIBRARY_PATH CUDA_INJECTION32_PATH CUDA_INJECTION64_PATH
        EMACSLOADPATH FI_PROVIDER_PATH GBM_BACKENDS_PATH GDAL_DRIVER_PATH GDAL_PYTHON_DRIVER_PATH GDK_PIXBUF_MODULEDIR
        GDK_PIXBUF_MODULE_FILE GIO_EXTRA_MODULES GIO_MODULE_DIR GITPERLLIB GI_TYPELIB_PATH GSS_MECH_CONFIG
        GTK_EXE_PREFIX GTK_IM_MODULE_FILE GTK_MODULES GTK_PATH HDF5_PLUGIN_PATH LIBGL_DRIVERS_PATH LIBMYSQL_PLUGINS
        LIBMYSQL_PLUGIN_DIR LIBVA_DRIVERS_PATH MAGICK_CODER_MODULE_PATH MAGICK_CONFIGURE_PATH
        MAGICK_FILTER_MODULE_PATH MARIADB_PLUGIN_DIR NUMBA_CUDA_DRIVER NVTX_INJECTION32_PATH NVTX_INJECTION64_PATH
        OCL_ICD_FILENAMES OCL_ICD_VENDORS OMP_TOOL_LIBRARIES PJRT_NAMES_AND_LIBRARY_PATHS PKCS11_MODULE_PATH
        PSModulePath QT_PLUGIN_PATH QT_QPA_PLATFORM_PLUGIN_PATH SASL_PATH SDL_DYNAMIC_API TPU_LIBRARY_PATH
        UCX_MODULE_DIR VK_DRIVER_FILES VK_ICD_FILENAMES VK_LAYER_PATH __EGL_VENDOR_LIBRARY_DIRS
        __EGL_VENDOR_LIBRARY_FILENAMES""",
        family=r"(?:OMPI|PMIX|PRTE)_MCA_\w+|GST_PLUGIN_(?:SYSTEM_)?PATH(?:_1_0)?|OPENCV_\w*PLUGIN\w*",
    ),
    _group(
        Rule.SUBMITTER,
        "NCCL loads the library that it names",
        "",
        family=r"NCCL_(?:NET|TUNER|PROFILER|ENV|GIN)_PLUGIN",
        harmless=r"[A-Za-z0-9_-]*",
        unless="it is one word, as none",
    ),
    _group(
        Rule.SUBMITTER,
        "compilers and builds run or compile what it names, or take it as options",
        """.LIBPATTERNS .SHELLFLAGS ARFLAGS ASFLAGS CARGO_ENCODED_RUSTFLAGS CFLAGS CMAKE_ARGS CMAKE_INCLUDE_PATH
        CMAKE_LIBRARY_PATH CMAKE_PREFIX_PATH CMAKE_PROGRAM_PATH CMAKE_TOOLCHAIN_FILE COFLAGS COMPILER_PATH CONFIG_SITE
        CPATH CPLUS_INCLUDE_PATH CPPFLAGS CXXFLAGS C_INCLUDE_PATH F77FLAGS FFLAGS GCC_EXEC_PREFIX GNUMAKEFLAGS GOAUTH
        GOCACHEPROG GOFLAGS LDFLAGS LDLIBS LD_RUN_PATH LFLAGS LIBRARY_PATH LOADLIBES MAKEFILES MAKEFLAGS MFLAGS
        OBJC_INCLUDE_PATH OUTPUT_OPTION RUSTC_WORKSPACE_WRAPPER RUSTC_WRAPPER RUSTFLAGS YFLAGS""",
        family=r"CARGO_BUILD_RUST\w+|CARGO_TARGET_\w+_(?:LINKER|RUNNER|RUSTFLAGS)|CARGO_\w*CREDENTIAL_(?:PROVIDERS?|ALIAS_\w+)"
        r"|CMAKE_\w+_LAUNCHER|CGO_\w*FLAGS|NVCC_\w*FLAGS|(?:ARCHIVE|COMPILE|LEX|LINK|LINT|PREPROCESS|YACC)\.\w+",
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
        """BUN_OPTIONS NODE_PATH NODE_REDIRECT_WARNINGS NODE_REPL_EXTERNAL_MODULE NODE_REPL_HISTORY NODE_V8_COVERAGE""",
        family=r"TS_NODE_\w+|BUN_INSPECT\w*|(?i:yarn_(?:yarn_path|rc_filename|plugins))|(?i:p?npm_config_(?:browser|editor"
        r"|git|globalconfig|init_module|node_gyp|node_options|nodedir|onload_script|prefix|script_shell|shell|userconfig"
        r"|viewer))",
    ),
    _group(
        Rule.SUBMITTER,
        "the Java virtual machine acts on it",
        """ANT_ARGS ANT_OPTS CATALINA_OPTS GRADLE_OPTS JAVA_TOOL_OPTIONS JDK_JAVA_OPTIONS JRUBY_OPTS MAVEN_ARGS
        MAVEN_OPTS SBT_OPTS _JAVA_OPTIONS""",
        family=r"(?:\w+_)?(?:(?:GC|HEAP|JAVA|JMX|JVM|LOG4J)_(?:OPTS|OPTIONS)|JVMFLAGS)"
        r"|(?:FLINK|HADOOP|HBASE|HDFS|HIVE|KAFKA|MAPRED|SPARK|YARN|ZOOKEEPER)_(?:\w+_)?OPTS",
        harmless=_SIZES,
        unless="it says sizes of memory only, as -Xmx2g",
    ),
    _group(
        Rule.SUBMITTER,
        "the Java virtual machine or its tools act on it",
        "FLYWAY_JAR_DIRS GRADLE_USER_HOME",
        family=r"(?:\w+_)?CLASSPATH",
    ),
    _group(
        Rule.SUBMITTER,
        "Perl acts on it",
        """HARNESS_PERL_SWITCHES PERL5DB PERL5DB_THREADED PERL5LIB PERL5OPT PERL5SHELL PERLDB_OPTS PERLIO PERLIO_DEBUG
        PERLLIB PERL_CPANM_OPT PERL_MB_OPT PERL_MM_OPT PERL_RL PERL_UNICODE""",
    ),
    _group(
        Rule.SUBMITTER,
        "Ruby acts on it",
        """BUNDLE_GEMFILE GEMRC GEM_HOME GEM_PATH PRYRC RAKEOPT RUBYGEMS_GEMDEPS RUBYLIB RUBYLIB_PREFIX RUBYOPT RUBYPATH
        RUBYSHELL RUBY_CRASH_REPORT""",
    ),
    _group(Rule.SUBMITTER, "PHP acts on it", "PHPRC PHP_INI_SCAN_DIR"),
    _group(Rule.SUBMITTER, "Lua acts on it", "LUAROCKS_CONFIG", family=r"LUA_(?:INIT|PATH|CPATH)(?:_\d+_\d+)?"),
    _group(
        Rule.SUBMITTER,
        "R acts on it",
        """R_DEFAULT_PACKAGES R_LD_LIBRARY_PATH R_LD_PRELOAD R_LIBS R_LIBS_SITE R_LIBS_USER R_TESTS R_UNZIPCMD
        R_ZIPCMD""",
        family=r"R_(?:PROFILE|ENVIRON|MAKEVARS)\w*",
    ),
    _group(Rule.SUBMITTER, "Julia acts on it", "JULIA_BINDIR JULIA_DEPOT_PATH JULIA_LOAD_PATH JULIA_PROJECT"),
    _group(
        Rule.SUBMITTER,
        "the Erlang virtual machine acts on it",
        "ELIXIR_ERL_OPTIONS ERL_AFLAGS ERL_FLAGS ERL_LIBS ERL_ZFLAGS MIX_ARCHIVES MIX_EXS MIX_HOME",
    ),
    _group(
        Rule.SUBMITTER,
        "the .NET runtime acts on it",
        """DOTNET_ADDITIONAL_DEPS DOTNET_SHARED_STORE DOTNET_STARTUP_HOOKS MONO_CONFIG MONO_ENV_OPTIONS
        MONO_PATH""",
        family=r"(?:COR|CORECLR)_\w*PROFIL\w*|(?i:(?:DOTNET|COMPlus)_(?:GC|Jit)(?:Name|Path))|(?i:DOTNET_DiagnosticPorts)",
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
        + r"(?:(?:UV|PIP|PIPENV|POETRY|PDM|CONDA|MAMBA|BUNDLE|COMPOSER|NUGET|PNPM|BUN_CONFIG|CARGO_(?:HTTP|NET"
        r"|REGISTRIES|REGISTRY|SOURCE))_\w+|(?i:yarn_|p?npm_config_)\w+)",
    ),
    _group(
        Rule.ASKED,
        "installers and libraries fetch programs or models from it",
        """CYPRESS_INSTALL_BINARY ELECTRON_MIRROR GOTOOLCHAIN HEX_MIRROR HF_ENDPOINT JULIA_PKG_SERVER
        NODEJS_ORG_MIRROR NVM_NODEJS_ORG_MIRROR PUPPETEER_DOWNLOAD_BASE_URL RUSTUP_DIST_SERVER RUSTUP_UPDATE_ROOT""",
        family=r"PLAYWRIGHT_(?:\w+_)?DOWNLOAD_HOST",
    ),
    _group(
        Rule.ASKED,
        "installers reach package indexes through it, or trust them because of it",
        """CURL_CA_BUNDLE DENO_CERT DENO_TLS_CA_STORE GIT_SSL_CAINFO GIT_SSL_CAPATH GIT_SSL_NO_VERIFY
        NODE_EXTRA_CA_CERTS NODE_TLS_REJECT_UNAUTHORIZED PYTHONHTTPSVERIFY REQUESTS_CA_BUNDLE SSL_CERT_DIR
        SSL_CERT_FILE""",
        family=r"(?i:https?|all|ftp)_(?i:proxy)",
    ),
)

GROUPS: tuple[Group, ...] = (*_NEVER, *_SUBMITTER, *_ASKED)
"""The table. Where a name is in two families, the first counts."""

_BY_NAME = {name: group for group in reversed(GROUPS) for name in group.names}
_FAMILIES = tuple((group, group.family) for group in GROUPS if group.family is not None)
_ANY_FAMILY = re.compile("|".join(f"(?:{family.pattern})" for _, family in _FAMILIES), re.ASCII)
_FOLDED = re.compile(r"[.-]")
