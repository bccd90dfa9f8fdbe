"""The one rule for names that something acts on: who may only store must not run code in other people's runs."""

import pytest

from secretstore.acting_names import GROUPS, Rule, group_of
from secretstore.errors import NameRefused, ValueRefused
from secretstore.naming import (
    alias_for,
    check_secret_name,
    check_submitted_name,
    check_variable_name,
    has_form_of_name,
    why_asked,
)
from secretstore.vault import NewSecret, NewVariable, check

CODE = "/dev/shm/x.so; echo $(id)"

STORED_THEY_ACT = """
    GIT_SSH_COMMAND GIT_CONFIG GIT_CONFIG_COUNT GIT_CONFIG_KEY_0 GIT_CONFIG_GLOBAL GIT_CONFIG_PARAMETERS
    GIT_EXTERNAL_DIFF GIT_ASKPASS GIT_EXEC_PATH GIT_EDITOR PAGER GIT_PAGER MANPAGER AWS_PAGER PSQL_PAGER LESSOPEN
    LESSCLOSE EDITOR VISUAL KUBE_EDITOR BROWSER PYTEST_PLUGINS PYTEST_ADDOPTS MPLBACKEND MATPLOTLIBRC PYTHONWARNINGS
    PERL5OPT PERL5LIB RUBYOPT NODE_OPTIONS NODE_PATH R_PROFILE R_PROFILE_USER R_ENVIRON R_ENVIRON_USER LUA_INIT
    LUA_INIT_5_4 LUA_INIT_6_0 JAVA_TOOL_OPTIONS _JAVA_OPTIONS ES_JAVA_OPTS MAVEN_OPTS ENV SSH_ASKPASS SUDO_ASKPASS
    RSYNC_RSH BORG_PASSCOMMAND RESTIC_PASSWORD_COMMAND AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD PSQLRC PGSSLKEY
    RUSTC_WRAPPER CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER GOFLAGS CC MAKEFLAGS npm_config_script_shell
    NPM_CONFIG_NODE_OPTIONS DASK_DISTRIBUTED__WORKER__PRELOAD PYICEBERG_CATALOG__LAKE__PY_CATALOG_IMPL
    GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES KUBECTL_EXTERNAL_DIFF TF_CLI_ARGS_plan CUDA_INJECTION64_PATH
    OMP_TOOL_LIBRARIES GUNICORN_CMD_ARGS PYSPARK_PYTHON DOTNET_STARTUP_HOOKS CORECLR_PROFILER_PATH
    TAR_OPTIONS VIMINIT DBUS_SESSION_BUS_ADDRESS
    npm_config_script-shell NPM_CONFIG_SCRIPT-SHELL npm_config_node.options PYICEBERG_CATALOG__C__PY-IO-IMPL
    pyiceberg_catalog__c__auth__impl DASK_distributed.worker.preload PIP_PYTHON npm_config_python npm_config_userconfig
    YARN_YARN_PATH yarn_yarn-path
    ZIP ZIPOPT DASK_DISTRIBUTED__SCHEDULER DASK_INTERNAL_INHERIT_CONFIG DASK_CONFIG DASK_DISTRIBUTED
    DASK_DISTRIBUTED__NANNY__PRE_SPAWN_ENVIRON ANSIBLE_CONFIG ANSIBLE_SSH_ARGS ANSIBLE_PYTHON_INTERPRETER
    ANSIBLE_COLLECTIONS_PATH ANSIBLE_BECOME_PASSWORD_FILE ANSIBLE_SSH_EXECUTABLE ANSIBLE_FILTER_PLUGINS KAFKA_HEAP_OPTS
    KAFKA_JMX_OPTS KAFKA_LOG4J_OPTS KAFKA_JVM_PERFORMANCE_OPTS HADOOP_CLIENT_OPTS YARN_OPTS ANT_OPTS JVMFLAGS
    SERVER_JVMFLAGS GOAUTH GOCACHEPROG FZF_DEFAULT_OPTS FZF_DEFAULT_OPTS_FILE BAT_OPTS LESSKEY_CONTENT PARALLEL
    RUBY_CRASH_REPORT TERRAGRUNT_AUTH_PROVIDER_CMD TG_AUTH_PROVIDER_CMD RCLONE_SFTP_SSH RCLONE_CONFIG_MINE_SSH
    RCLONE_METADATA_MAPPER PERLDOC_PAGER NVCC_PREPEND_FLAGS NVCC_APPEND_FLAGS PYTENSOR_FLAGS CMAKE_ARGS PERL_CPANM_OPT
    GROFF_COMMAND_PREFIX
    XDG_CONFIG_HOME XDG_CONFIG_DIRS XDG_DATA_HOME XDG_DATA_DIRS XDG_CACHE_HOME DOCKER_CONFIG VALGRIND_LIB
    CMAKE_TOOLCHAIN_FILE AR AS CXX LD RM MAKE LEX YACC COMPILE.c LINK.o .SHELLFLAGS OUTPUT_OPTION CPATH LIBRARY_PATH
    CLOUDSDK_PYTHON GIT_PYTHON_GIT_EXECUTABLE JAVA_HOME JAVACMD SPARK_HOME SPARK_CONF_DIR HADOOP_CONF_DIR
    SPARK_DIST_CLASSPATH GOROOT GOENV RUSTUP_TOOLCHAIN CARGO_HOME PKG_CONFIG TF_DATA_DIR TERRAFORM_CONFIG TG_TF_PATH
    PACKER_PLUGIN_PATH HELM_DATA_HOME GNUPGHOME SOPS_GPG_EXEC DATABRICKS_CLI_PATH WANDB__EXECUTABLE SE_MANAGER_PATH
    PLAYWRIGHT_NODEJS_PATH PUPPETEER_EXECUTABLE_PATH IMAGEIO_FFMPEG_EXE PYPANDOC_PANDOC RSTUDIO_PANDOC R_TESTS
    R_LD_LIBRARY_PATH PRYRC PYLINTRC RUBYGEMS_GEMDEPS AIRFLOW__CORE__PLUGINS_FOLDER AIRFLOW_HOME PYTHON_KEYRING_BACKEND
    RAY_RUNTIME_ENV_HOOK TRITON_PTXAS_PATH UV_PYTHON VIRTUAL_ENV NUMBA_CACHE_DIR
    CORECLR_NOTIFICATION_PROFILERS CORECLR_ENABLE_NOTIFICATION_PROFILERS DOTNET_ROOT DOTNET_ROOT_X64 DOTNET_GCPath
    DOTNET_gcName COMPlus_JitName PSModulePath NVTX_INJECTION64_PATH NCCL_NET_PLUGIN UCX_MODULE_DIR FI_PROVIDER_PATH
    PJRT_NAMES_AND_LIBRARY_PATHS NUMBA_CUDA_DRIVER ARROW_LIBHDFS_DIR GSS_MECH_CONFIG SDL_DYNAMIC_API
    GDK_PIXBUF_MODULE_FILE GITPERLLIB EMACSLOADPATH PMIX_MCA_x GST_PLUGIN_SYSTEM_PATH_1_0
    CARGO_REGISTRY_CREDENTIAL_PROVIDER CARGO_REGISTRIES_OWN_CREDENTIAL_PROVIDER CARGO_CREDENTIAL_ALIAS_OWN
""".split()  # noqa: SIM905
NOBODYS = """
    LD_PRELOAD LD_AUDIT LD_PRELOAD_64 DYLD_INSERT_LIBRARIES DYLD_ANYTHING_NEW GLIBC_TUNABLES OPENSSL_CONF BASH_ENV
    PROMPT_COMMAND PS4 SHELLOPTS PYTHONSTARTUP PYTHONBREAKPOINT PYTHONPATH PATH HOME _PYTHON_SYSCONFIGDATA_NAME
    _PYTHON_PROJECT_BASE
""".split()  # noqa: SIM905
INSTALLERS = """
    UV_INDEX UV_DEFAULT_INDEX UV_CONFIG_FILE PIP_INDEX_URL PIP_CONFIG_FILE npm_config_registry NPM_CONFIG_REGISTRY
    YARN_NPM_REGISTRY_SERVER GOPROXY CONDA_CHANNELS HTTPS_PROXY https_proxy ALL_PROXY SSL_CERT_FILE REQUESTS_CA_BUNDLE
    NODE_EXTRA_CA_CERTS CARGO_REGISTRIES_OWN_INDEX PIP_INDEX-URL PIP_EXTRA.INDEX-URL yarn_npm-registry-server
    HF_ENDPOINT RUSTUP_DIST_SERVER JULIA_PKG_SERVER PLAYWRIGHT_DOWNLOAD_HOST PLAYWRIGHT_CHROMIUM_DOWNLOAD_HOST
    CARGO_HTTP_PROXY
""".split()  # noqa: SIM905
ORDINARY = """
    LD_ACCESS_TOKEN LD_SDK_KEY GIT_TOKEN GIT_USER GIT_AUTHOR_NAME GIT_SHA NODE_ENV PYTHON_TOKEN PYTHON_VERSION
    JAVA_VERSION R_KEY LUA_TOKEN FLASK_APP DJANGO_SETTINGS_MODULE KUBECONFIG AWS_CONFIG_FILE AWS_PROFILE LANG TZ
    PYTHONUNBUFFERED PYTHONUTF8 PYTHONHASHSEED NO_PROXY UV_INDEX_OWN_USERNAME UV_INDEX_OWN_PASSWORD UV_PUBLISH_TOKEN
    NPM_TOKEN
    POETRY_HTTP_BASIC_OWN_PASSWORD POETRY_PYPI_TOKEN_OWN CARGO_REGISTRY_TOKEN VAULT_TOKEN DATABASE_URL EMAIL_CMD
    KAFKA_BOOTSTRAP_SERVERS KAFKA_CLIENT_ID SPARK_MASTER HADOOP_USER_NAME AWS_REGION AWS_ACCESS_KEY_ID AWS_ENDPOINT_URL
    AWS_CA_BUNDLE DOCKER_HOST DOCKER_AUTH_CONFIG DASK_TEMPORARY_DIRECTORY DASK_GATEWAY__AUTH__PASSWORD
    ANSIBLE_VAULT_PASSWORD ANSIBLE_BECOME_PASS ANSIBLE_REMOTE_USER ANSIBLE_GALAXY_SERVER_OWN_TOKEN HF_TOKEN HF_HOME
    WANDB_API_KEY RCLONE_CONFIG_MINE_TYPE RCLONE_CONFIG_MINE_PASS PYICEBERG_CATALOG__LAKE__URI DBT_PROFILES_DIR
    PAGERDUTY_TOKEN ZIP_CODE CCN ANT_KEY CARGO_REGISTRIES_OWN_TOKEN API.KEY api-key MY-TOKEN git-ssh bash-env
    XDG_RUNTIME_DIR TERRAFORM_TOKEN TF_VAR_region DOTNET_ENVIRONMENT GOOGLE_APPLICATION_CREDENTIALS ORACLE_HOME
""".split()  # noqa: SIM905


def refused(name: str) -> NameRefused:
    """What both a secret and a variable of this name and of a value that is code are refused with."""
    with pytest.raises(NameRefused) as of_variable:
        check(NewVariable("default", name, CODE))
    for as_file in (None, False, True):
        with pytest.raises(NameRefused) as of_secret:
            check(NewSecret("default", name, CODE.encode(), as_file=as_file))
        assert str(of_secret.value) == str(of_variable.value)
    return of_variable.value


@pytest.mark.parametrize("name", STORED_THEY_ACT)
def test_what_a_tool_runs_is_not_stored_and_a_submitter_may_set_it(name: str) -> None:
    """The refusal has the reason, and what to do instead."""
    said = refused(name)
    group = group_of(name)
    assert group is not None and group.rule is Rule.SUBMITTER
    assert str(said).startswith(f'the name "{name}" is refused: {group.reason}')
    assert said.hint is not None and "in the job's own code" in said.hint and "run --env" in said.hint
    check_submitted_name(name)
    assert why_asked(name) is None


@pytest.mark.parametrize("name", NOBODYS)
def test_what_acts_before_the_runs_code_is_refused_to_all(name: str) -> None:
    """The submitter, too; the code itself may set it for what it starts."""
    said = refused(name)
    assert said.hint == "the job's own code can set it for what it starts"
    with pytest.raises(NameRefused):
        check_submitted_name(name)


@pytest.mark.parametrize("name", INSTALLERS)
def test_what_installers_act_on_is_asked_for(name: str) -> None:
    """It is no refusal; who stores it has to say that it is meant."""
    check(NewVariable("default", name, CODE))
    check(NewSecret("default", name, CODE.encode()))
    check_submitted_name(name)
    assert "installers" in str(why_asked(name))


@pytest.mark.parametrize("name", ORDINARY)
def test_what_merely_looks_alike_is_fine(name: str) -> None:
    """Tokens, a project's own settings, credentials of an index, and the paths of files that people need."""
    check(NewVariable("default", name, CODE))
    check(NewSecret("default", name, CODE.encode()))
    assert why_asked(name) is None


@pytest.mark.parametrize(
    ("name", "harmless", "harmful"),
    [
        ("ENV", "production", "$HOME/x"),
        ("ENV", "", "../x"),
        ("MPLBACKEND", "Agg", "module://x"),
        ("PYSPARK_PYTHON", "python3.11", "/x/python3"),
        ("PAGER", "cat", "cat x|sh"),
        ("AWS_PAGER", "", "sh"),
        ("NODE_OPTIONS", "--max-old-space-size=4096", "--max-old-space-size=4096 --require=/x"),
        ("NODE_OPTIONS", "--max_old_space_size=64 --max-semi-space-size=16", "-r x"),
        ("JAVA_TOOL_OPTIONS", "-Xms512m -Xmx2g", "-Xmx2g -javaagent:/x.jar"),
        ("ES_JAVA_OPTS", "-XX:MaxRAMPercentage=75.0", "-XX:OnOutOfMemoryError=id"),
        ("PYTHONWARNINGS", "ignore::DeprecationWarning", "error::antigravity.x"),
        ("KAFKA_HEAP_OPTS", "-Xms512M -Xmx1G", "-javaagent:/x.jar"),
        ("DASK_SCHEDULER_ADDRESS", "tcp://dask-scheduler:8786", "{'preload': 'x.y'}"),
        ("DASK_SCHEDULER_ADDRESS", "dask-scheduler.internal:8786", "/x.py"),
        ("DASK_GATEWAY__ADDRESS", "https://gateway.example.com", "https://gateway.example.com/x.py"),
        ("DASK_DISTRIBUTED__WORKER__MEMORY__TARGET", "0.85", "[x]"),
        ("DASK_GATEWAY__AUTH__TYPE", "kerberos", "x.Auth"),
        ("ANSIBLE_HOST_KEY_CHECKING", "False", "/x"),
        ("ANSIBLE_STDOUT_CALLBACK", "community.general.yaml", "../x"),
        ("ANSIBLE_SSH_ARGS", "", "-oProxyCommand=x"),
        ("ANSIBLE_INVENTORY", "hosts.ini", "-Fx"),
        ("JAVA_HOME", "/usr/lib/jvm/java-17-openjdk-amd64", "/usr/../dev/shm/x"),
        ("SPARK_HOME", "/opt/spark", "/dev/shm/spark"),
        ("HADOOP_CONF_DIR", "/etc/hadoop/conf", "~/conf"),
        ("RUSTUP_TOOLCHAIN", "nightly-2024-01-01", "./x"),
        ("CC", "gcc-12", "gcc -x"),
        ("LD", "AR", "-x"),
        ("PUPPETEER_EXECUTABLE_PATH", "/usr/bin/chromium", "/opt/.x"),
        ("UV_PYTHON", "3.12", "/x/python3"),
        ("VIRTUAL_ENV", "/opt/venv", "/dev/shm/venv"),
        ("AIRFLOW_HOME", "/opt/airflow", "/opt/airflow/../../x"),
        ("ZIP", "94105-1234", "-T -TT x"),
        ("PARALLEL", "4", "--tmux x"),
        ("NCCL_NET_PLUGIN", "none", "/x.so"),
    ],
)
def test_some_values_do_no_harm_and_may_be_stored(name: str, harmless: str, harmful: str) -> None:
    """The refusal of another says which; a file's path is never one."""
    check(NewVariable("default", name, harmless))
    check_variable_name(name)  # as long as the value is not known
    if harmless:
        check(NewSecret("default", name, harmless.encode(), allow_short=True))
        with pytest.raises(NameRefused):
            check(NewSecret("default", name, harmless.encode(), allow_short=True, as_file=True))
    else:
        with pytest.raises(ValueRefused, match="it is empty"):
            check(NewSecret("default", name, b""))
    for value in (harmful, f"{harmless}\n", f"{harmless}\n{harmful}"):
        if value.strip() != harmless.strip():
            with pytest.raises(NameRefused, match="unless it "):
                check(NewVariable("default", name, value))
    with pytest.raises(NameRefused, match="unless it "):
        check_secret_name(name, b"\xff\xfe" + harmful.encode())


@pytest.mark.parametrize("name", ["ld.preload", "git-ssh-command", "node.options", "pytest.plugins", "bash-env"])
def test_no_alias_is_such_a_name(name: str) -> None:
    """`git-ssh-command` may be a secret's name, and is given as that alone."""
    check_secret_name(name, CODE)
    assert alias_for(name) is None


def test_an_alias_that_installers_act_on_is_asked_for() -> None:
    """The run finds it under both names."""
    assert str(why_asked("pip.index-url")).endswith(", as PIP_INDEX_URL")


def test_the_table_is_in_order() -> None:
    """Every name has the form of one, none is ours by its prefix or stands twice, and every group has a reason."""
    names = [name for group in GROUPS for name in group.names]
    assert len(names) == len(set(names)) > 300
    assert all(has_form_of_name(name) and not name.startswith("SEALRUN_") for name in names)
    for group in GROUPS:
        assert group.reason and (group.names or group.family)
        assert (group.harmless is None) == (not group.unless)
        assert all(group_of(name) is group for name in group.names)
