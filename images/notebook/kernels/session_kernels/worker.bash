# The shell of the Bash kernel reads this at its start, as an rcfile. Then the kernel writes a line to its
# standard input for every frame (bash.py), and PROMPT_COMMAND answers, after an interrupt too.
PS1='' PS2='' PROMPT_COMMAND=__answer HISTFILE='' __kind='' __status=0
set +o history +o histexpand +m
__in=$KERNEL_IN __out=$KERNEL_OUT
unset KERNEL_IN KERNEL_OUT
exec 2>&9 9>&-
export PAGER=cat TERM=dumb NOTEBOOK_BASH_KERNEL_CAPABILITIES=image,html,javascript

__send() { printf '%s\n%s\0' "$1" "$2" >&"$__out"; }

__receive() {
    local frame
    IFS= builtin read -r -d '' -u "$__in" frame
    __kind=${frame%%$'\n'*} __body=${frame#*$'\n'}
    [ "$__kind" != run ] || __body=${__body#*$'\n'} # without the cell's number
}

__again() { return "$1"; }

__answer() {
    local status=$?
    [ "$__kind" != run ] || {
        __status=$status
        if [ "$status" = 0 ]; then __send ok; else __send error "ExitStatus
the last command of the cell ended with $status"; fi
    }
    __kind=
}

__complete() {
    local word=${__body%%$'\n'*} place=${__body#*$'\n'}
    __send matches "$(
        case $word in
            '$'*) compgen -A variable -P '$' -- "${word#'$'}" ;;
            *)
                [ "$place" != command ] || compgen -A alias -A builtin -A command -A function -A keyword -- "$word" |
                    grep -v '^__'
                compgen -A file -- "$word" | while builtin read -r file; do
                    [ ! -d "$file" ] || file+=/
                    printf '%s\n' "$file"
                done
                ;;
        esac
    )"
}

__inspect() {
    __send text "$(
        case $(type -t -- "$__body") in
            builtin | keyword) help -m -- "$__body" ;;
            '') [[ ! -v $__body ]] || declare -p -- "$__body" ;;
            *) type -- "$__body" ;;
        esac 2>/dev/null
    )"
}

__check() {
    local said
    if said=$(bash -n 2>&1 <<<"$__body"); then
        case $__body in *\\) __send status incomplete ;; *) __send status complete ;; esac
    else
        case $said in
            *'unexpected end of file'* | *'looking for matching'*) __send status incomplete ;;
            *) __send status invalid ;;
        esac
    fi
}

# A cell has no standard input of its own: `read` asks the person. What is redirected or piped is read as ever.
read() {
    local __argument __previous='' __prompt='' __frame
    for __argument; do
        case $__previous in -*p) __prompt=$__argument ;; esac
        case $__argument in -*u*) builtin read "$@"; return ;; esac
        __previous=$__argument
    done
    [[ /dev/fd/0 -ef /dev/null ]] || { builtin read "$@"; return; }
    printf '%s' "$__prompt" >&2
    __send input
    IFS= builtin read -r -d '' -u "$__in" __frame
    case $__frame in line*) builtin read "$@" <<<"${__frame#*$'\n'}" ;; *) return 1 ;; esac
}

# display [ID] < IMAGE, displayHTML [ID] < HTML, displayJS [ID] < SCRIPT: an ID replaces what was shown with it.
display() {
    local data type
    data=$(base64 -w 0)
    case $data in
        iVBORw0KGgo*) type=image/png ;;
        /9j/*) type=image/jpeg ;;
        R0lGOD*) type=image/gif ;;
        UklGR*) type=image/webp ;;
        *) echo 'display: neither PNG, JPEG, GIF nor WebP' >&2; return 1 ;;
    esac
    __send display "$type
$1
$data"
}
displayHTML() { __send display "text/html
$1
$(cat)"; }
displayJS() { __send display "text/javascript
$1
$(cat)"; }

__send ready
