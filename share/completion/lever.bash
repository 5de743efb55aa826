# bash completion of lever; written by tools/make_man.py (make man). SPDX-License-Identifier: MIT
_lever()
{
    local IFS=$' \t\n' cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local flags='' files='' folders='' values='' plain='' i
    COMPREPLY=()
    if [[ $COMP_CWORD -eq 1 ]]; then
        COMPREPLY=($(compgen -W 'run chat inspect eval fit bench profile plan quantize grow help version' -- "$cur"))
        return
    fi
    case ${COMP_WORDS[1]} in
        run)
            flags='--raw --ignore-eos --special --no-display-prompt --pin-first --no-pin --verify-reads --no-learn --project-device --json -q --quiet -h --help'
            files='-f --file --prompts -m --model -md --model-draft --exit --device --device-draft --trace'
            values='-p --prompt --limit --chat-template --think -n --n-predict --draft --policy --draft-ahead --prune --mem -c --ctx-size -t --threads --cpus -b --batch-size --io --flash-model --flash-limit --isa --kv --device-min-rows --temp --top-k --top-p --min-p --repeat-penalty --repeat-last-n -s --seed --verify --project --check'
            plain=
            ;;
        chat)
            flags='--show-draft --pin-first --no-pin --verify-reads --no-learn -h --help'
            files='--load -m --model -md --model-draft --exit --device --device-draft'
            values='-sys --system -n --n-predict --chat-template --think --draft --policy --draft-ahead --prune --mem -c --ctx-size -t --threads --cpus -b --batch-size --io --flash-model --flash-limit --isa --kv --device-min-rows --temp --top-k --top-p --min-p --repeat-penalty --repeat-last-n -s --seed'
            plain=
            ;;
        inspect)
            flags='--tensors --json -h --help --checksum --verify --pin-first --no-pin --verify-reads'
            files='-m --model -md --model-draft --exit --device --device-draft'
            values='--draft --policy --draft-ahead --prune --mem -c --ctx-size -t --threads --cpus -b --batch-size --io --flash-model --flash-limit --isa --kv --device-min-rows'
            plain=files
            ;;
        eval)
            flags='--pin-first --no-pin --verify-reads --json -h --help'
            files='-f --text -m --model -md --model-draft --device --device-draft'
            values='--limit --mem -c --ctx-size -t --threads --cpus -b --batch-size --io --flash-model --flash-limit --isa --kv --device-min-rows'
            plain=
            ;;
        fit)
            flags='--pin-first --no-pin --verify-reads --json -h --help'
            files='-f --text -o --output -m --model -md --model-draft --device --device-draft'
            values='--form --rank --layers --positions --disk --steps --time-limit -s --seed --mem -c --ctx-size -t --threads --cpus -b --batch-size --io --flash-model --flash-limit --isa --kv --device-min-rows'
            plain=
            ;;
        bench)
            flags='--ignore-eos --raw --project-device --pin-first --no-pin --verify-reads --resume --json -h --help'
            files='--prompts -m --model -md --model-draft --exit --device --device-draft --csv --plot --calibration'
            values='--policies --policy --limit --rounds --sweep-mem --residency -n --n-predict --chat-template --think --temp -s --seed --verify --project --prune --mem -c --ctx-size -t --threads --cpus -b --batch-size --io --flash-model --flash-limit --isa --kv --device-min-rows'
            plain=
            ;;
        profile)
            flags='--no-run --show --if-stale --json -h --help'
            files='-m --model -md --model-draft --file'
            folders='--dir'
            values='--device --types --mem -t --threads --cpus --isa --time'
            plain=
            ;;
        plan)
            flags='--no-learn --pin-first --no-pin --verify-reads --json -h --help'
            files='-f --file -m --model -md --model-draft --exit --device --device-draft'
            values='--policies --temp -n --n-predict --positions --measure --draft-ahead --prune --mem -c --ctx-size -t --threads --cpus -b --batch-size --io --flash-model --flash-limit --isa --kv --device-min-rows'
            plain=
            ;;
        quantize)
            plain=files
            ;;
        grow)
            flags='-h --help'
            values='--type -s --seed'
            plain=files
            ;;
    esac
    # "--name=value" comes as three words
    if [[ $cur == = ]]; then
        cur=''
    elif [[ $prev == = && $COMP_CWORD -gt 2 ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    for ((i = 2; i < COMP_CWORD; i++)); do # behind "--" nothing is an option
        if [[ ${COMP_WORDS[i]} == -- ]]; then
            flags='' files='' folders='' values='' prev=''
        fi
    done
    local taken=" $folders $values " # options with a value that is no file
    [[ $plain == files && $cur != -* && $taken != *" $prev "* ]] && files="$files $prev"
    if [[ " $files " == *" $prev "* || -z $prev ]]; then
        compopt -o filenames 2>/dev/null
        IFS=$'\n'
        COMPREPLY=($(compgen -f -- "$cur"))
    elif [[ " $folders " == *" $prev "* ]]; then
        compopt -o filenames 2>/dev/null
        IFS=$'\n'
        COMPREPLY=($(compgen -d -- "$cur"))
    elif [[ " $values " != *" $prev "* ]]; then
        COMPREPLY=($(compgen -W "$flags $files $folders $values" -- "$cur"))
    fi
}
complete -F _lever lever
