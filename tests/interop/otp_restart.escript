#!/usr/bin/env escript
%% Crashes a child of an OTP supervisor, COUNT times, and prints how long each time until it
%% answers again, in nanoseconds, as JSON. The asker gets an error first, as with ours. With
%% `apart`, asker and child are bound to the first and the second scheduler, of two at least.
-export([init/1, handle_call/3, handle_cast/2]).
-mode(compile).

main([Count]) -> main([Count, "free"]);
main([Count, Where]) ->
    logger:set_primary_config(level, none),
    Main = self(),
    Measure = fun() ->
        {ok, _} = supervisor:start_link(?MODULE, {supervisor, bound(Where, 2)}),
        Main ! {times, [restart() || _ <- lists:seq(1, list_to_integer(Count))]}
    end,
    {_, Asker} = spawn_opt(Measure, [monitor | bound(Where, 1)]),
    receive
        {times, Times} ->
            io:format("[~s]~n", [lists:join(",", [integer_to_list(Time) || Time <- Times])]);
        {'DOWN', Asker, _, _, _} -> halt(1)
    end.

bound("apart", Scheduler) -> [{scheduler, Scheduler}];
bound("free", _) -> [].

init({supervisor, Options}) ->
    Start = [{local, child}, ?MODULE, child, [{spawn_opt, Options}]],
    Child = #{id => child, start => {gen_server, start_link, Start}},
    {ok, {#{strategy => one_for_one, intensity => 1000000, period => 1}, [Child]}};
init(child) -> {ok, 0}.

handle_call(crash, _, _) -> error(on_purpose);
handle_call(ping, _, State) -> {reply, State, State}.
handle_cast(_, State) -> {noreply, State}.

restart() ->
    Start = erlang:monotonic_time(nanosecond),
    {'EXIT', _} = (catch gen_server:call(child, crash)),
    answered(),
    erlang:monotonic_time(nanosecond) - Start.

answered() ->
    case catch gen_server:call(child, ping) of
        0 -> ok;
        _ -> erlang:yield(), answered()
    end.
