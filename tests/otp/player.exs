# Plays scenarios on real supervisors: Erlang/OTP's `supervisor`, and Elixir's `DynamicSupervisor`.
#
# A line of stdin is `number<TAB>Erlang term`, the scenario (tests/otp/scenario.py says what is in it). For each there comes a
# line `number<TAB>JSON` on stdout, its trace: a list of lists of texts and numbers. tests/otp/ours.py writes the same.
#
# The VM has one scheduler thread (tests/otp/erlang.py): a process that exits has told its watchers before any other process
# runs, so that the recorder hears of the ends in the order in which they are.

:logger.set_primary_config(:level, :none)

defmodule Words do
  @moduledoc "How terms are written in a trace."

  def reason(reason) when reason in [:normal, :shutdown, :killed, :noproc], do: to_string(reason)
  def reason({:shutdown, {:failed_to_start_child, id, reason}}), do: "#{id}: #{reason(reason)}"
  def reason({:shutdown, detail}) when is_binary(detail), do: "shutdown #{detail}"
  def reason(_), do: "crash"

  def answer({:ok, pid}) when is_pid(pid), do: "ref"
  def answer({:ok, :undefined}), do: "ignored"
  def answer(:ignore), do: "ignored"
  def answer({:ok, %{id: id, restart: restart, shutdown: shutdown, type: type, significant: significant}}),
    do: ["specification", id, to_string(restart), to_string(shutdown), to_string(type), to_string(significant)]

  def answer(:ok), do: "ok"
  def answer({:error, :already_present}), do: "already present"
  def answer({:error, :max_children}), do: "max children"
  def answer({:error, word}) when word in [:not_found, :running, :restarting], do: to_string(word) |> String.replace("_", " ")
  def answer({:error, _}), do: "start error"
  def answer(:dead), do: "dead"
end

defmodule Recorder do
  @moduledoc "One scenario's trace, which starts do what, and who lives."
  use GenServer

  def call(recorder, request), do: GenServer.call(recorder, request, :infinity)

  @impl true
  def init(scripts), do: {:ok, %{lines: [], scripts: scripts, starts: %{}, live: %{}, newest: %{}, ids: %{}}}

  @impl true
  def handle_call({:starting, id, extra, pid}, _from, state) do
    {outcome, number, state} = next(state, id)

    case outcome do
      "ok" -> {:reply, outcome, state |> line(["start", id, number, extra]) |> watch(id, pid)}
      "ignore" -> {:reply, outcome, line(state, ["ignore", id, number])}
      _ -> {:reply, outcome, line(state, ["fail", id, number])}
    end
  end

  def handle_call({:up, id, pid}, _from, state), do: {:reply, :ok, watch(state, id, pid)}

  def handle_call({:failed, id}, _from, state),
    do: {:reply, :ok, line(state, ["failed", id, state.starts[id]])}

  def handle_call({:hook, id, pid, reason}, _from, state) do
    number = with({_, number} <- state.live[pid], do: number) || "that has ended"
    {:reply, :ok, line(state, ["hook", id, number, Words.reason(reason)])}
  end

  def handle_call({:live, id}, _from, state) do
    pid = state.newest[id]
    {:reply, if(Map.has_key?(state.live, pid), do: pid), state}
  end

  def handle_call({:newest, id}, _from, state), do: {:reply, state.newest[id], state}
  def handle_call(:live, _from, state), do: {:reply, Map.keys(state.live), state}
  def handle_call(:ids, _from, state), do: {:reply, state.ids, state}
  def handle_call(:take, _from, state), do: {:reply, Enum.reverse(state.lines), %{state | lines: []}}

  @impl true
  def handle_info({:DOWN, _, :process, pid, reason}, state) do
    {{id, number}, live} = Map.pop(state.live, pid)
    {:noreply, line(%{state | live: live}, ["end", id, number, Words.reason(reason)])}
  end

  defp next(state, id) do
    number = Map.get(state.starts, id, 0) + 1
    outcome = state.scripts |> Map.get(id, []) |> Enum.at(number - 1, "ok")
    {outcome, number, put_in(state.starts[id], number)}
  end

  defp line(state, line), do: %{state | lines: [line | state.lines]}

  defp watch(state, _, nil), do: state

  defp watch(state, id, pid) do
    Process.monitor(pid)
    live = Map.put(state.live, pid, {id, state.starts[id]})
    %{state | live: live, newest: Map.put(state.newest, id, pid), ids: Map.put(state.ids, pid, id)}
  end
end

defmodule Child do
  @moduledoc "A worker: plays its script, writes down what happens to it. Traps exits unless it is a plain one."
  use GenServer

  def start_link(recorder, child), do: start([], recorder, child)
  def start_link(extra, recorder, child), do: start([extra], recorder, child)

  defp start(extra, recorder, child) do
    name = if child["name"], do: [name: {:via, Registry, {Names, {recorder, child["name"]}}}], else: []
    GenServer.start_link(__MODULE__, {extra, recorder, child}, name)
  end

  @impl true
  def init({extra, recorder, child}) do
    case Recorder.call(recorder, {:starting, child["id"], extra, self()}) do
      "ok" ->
        Process.flag(:trap_exit, child["kind"] != "plain")
        {:ok, %{recorder: recorder, child: child, dying: false}}

      "ignore" ->
        :ignore

      "exit" ->
        {:stop, :shutdown}

      "fail" ->
        raise "ordered"
    end
  end

  @impl true
  def handle_info({:die, how}, state) do
    state = %{state | dying: true}

    case how do
      "normal" -> {:stop, :normal, state}
      "shutdown" -> {:stop, :shutdown, state}
      "moved" -> {:stop, {:shutdown, "moved"}, state}
      "crash" -> {:stop, :crash, state}
    end
  end

  @impl true
  def handle_call(:dying, _from, state), do: {:reply, :ok, %{state | dying: true}}
  def handle_call(:crash, _from, _state), do: raise("ordered")

  @impl true
  def terminate(_reason, %{child: %{"kind" => "plain"}}), do: :ok

  def terminate(reason, %{recorder: recorder, child: child, dying: dying}) do
    Recorder.call(recorder, {:hook, child["id"], self(), reason})

    case child["stop"] do
      "prompt" -> :ok
      "takes" -> receive(do: (:never -> :ok), after: (5 -> :ok))
      "hangs" -> unless dying, do: receive(do: (:never -> :ok))
      ["takes along", id] -> take_along(Recorder.call(recorder, {:live, id}))
    end
  end

  defp take_along(nil), do: :ok

  defp take_along(pid) do
    watch = Process.monitor(pid)
    send(pid, {:die, "crash"})
    receive(do: ({:DOWN, ^watch, _, _, _} -> :ok))
  end
end

defmodule Sup do
  @moduledoc "A supervisor as a child, or on top. `start` runs in the process of the one above it."
  @behaviour :supervisor

  def start(recorder, child), do: start([], recorder, child)

  def start(extra, recorder, child) do
    case Recorder.call(recorder, {:starting, child["id"], List.wrap(extra), nil}) do
      "ok" -> link(recorder, child)
      "ignore" -> :ignore
      "exit" -> {:error, :shutdown}
      "fail" -> {:error, :crash}
    end
  end

  defp link(recorder, child) do
    case link_to(child["supervisor"], recorder) do
      {:ok, pid} ->
        Recorder.call(recorder, {:up, child["id"], pid})
        {:ok, pid}

      error ->
        Recorder.call(recorder, {:failed, child["id"]})
        error
    end
  end

  defp link_to(%{"dynamic" => true} = sup, _recorder) do
    DynamicSupervisor.start_link(
      strategy: :one_for_one,
      max_restarts: sup["max_restarts"],
      max_seconds: sup["max_seconds"],
      max_children: sup["max_children"] || :infinity,
      extra_arguments: sup["extra"]
    )
  end

  defp link_to(sup, recorder), do: :supervisor.start_link(__MODULE__, {sup, recorder})

  @impl true
  def init({sup, recorder}) do
    flags = %{
      strategy: String.to_atom(sup["strategy"]),
      intensity: sup["max_restarts"],
      period: sup["max_seconds"],
      auto_shutdown: String.to_atom(sup["auto_shutdown"])
    }

    {:ok, {flags, Enum.map(sup["children"], &spec(&1, recorder))}}
  end

  def spec(child, recorder) do
    {module, function} = if child["supervisor"], do: {Sup, :start}, else: {Child, :start_link}

    %{
      id: child["id"],
      start: {module, function, [recorder, child]},
      restart: String.to_atom(child["restart"]),
      shutdown: if(is_binary(child["shutdown"]), do: String.to_atom(child["shutdown"]), else: child["shutdown"]),
      type: if(child["supervisor"], do: :supervisor, else: :worker),
      significant: child["significant"]
    }
  end
end

defmodule Player do
  @moduledoc "Plays one scenario in a process of its own."
  @deadline_ms 30_000

  def play(scenario) do
    Process.flag(:trap_exit, true)
    {:ok, recorder} = GenServer.start_link(Recorder, scenario["scripts"])
    Process.put(:deadline, now() + @deadline_ms)
    Process.put(:dynamic, scenario["dynamic"])
    Process.put(:above, scenario["above"])

    try do
      Process.put(:top, scenario["top"])
      Enum.reduce(scenario["steps"], first_start(recorder), fn step, trace -> trace ++ step(recorder, step) end)
    catch
      :throw, {:stuck, what} -> [["stuck", what] | Recorder.call(recorder, :take)]
    end
  end

  defp first_start(recorder) do
    started =
      case Sup.start(recorder, Process.get(:top)) do
        {:ok, _} -> "ref"
        :ignore -> "ignored"
        {:error, reason} -> Words.reason(reason)
      end

    [["started", started] | observe(recorder)]
  end

  # --- a step: the supervisor is held, gets deaths and requests in a known order, and is let go -----------------------------

  defp step(recorder, %{"at" => at} = step) do
    case Recorder.call(recorder, {:live, at}) do
      nil ->
        [["step", at, "gone"]] ++ if(at == "top", do: first_start(recorder), else: [])

      sup ->
        age(sup, step["age"])
        go = hold(sup)
        asked = Enum.map(step["actions"], &{&1, act(recorder, at, sup, &1)})
        go.()
        answers = for {action, asked} <- asked, do: ["answer"] ++ written(action) ++ [answer(recorder, at, action, asked)]
        [["step", at, "live"]] ++ answers ++ observe(recorder)
    end
  end

  defp written([operation, %{"id" => id}]), do: [operation, id]
  defp written(action), do: action

  # The state function runs in the supervisor, as its answer to a system message, and blocks it.
  defp hold(sup) do
    player = self()
    name = make_ref()

    spawn(fn ->
      :sys.replace_state(
        sup,
        fn state ->
          send(player, {:held, name, self()})
          receive(do: ({:go, ^name} -> state))
        end,
        :infinity
      )
    end)

    receive do
      {:held, ^name, _} -> fn -> send(sup, {:go, name}) end
    after
      left() -> throw({:stuck, "hold"})
    end
  end

  # Time that has passed: each restart in the window is that much older.
  defp age(sup, seconds) do
    :sys.replace_state(sup, fn
      %{restarts: restarts} = state -> %{state | restarts: Enum.map(restarts, &(&1 - seconds))}
      state -> put_elem(state, 7, Enum.map(elem(state, 7), &(&1 - seconds)))
    end)
  end

  # What is done to the held supervisor, or put into its mailbox: the answer, or where it will come from.
  defp act(recorder, _at, sup, ["die", id, how]) do
    case Recorder.call(recorder, {:live, id}) do
      nil ->
        {:done, "nobody"}

      pid ->
        die(id, pid, how)
        await("the exit of #{id}", fn -> exit_arrived?(sup, pid) end)
        {:done, "ok"}
    end
  end

  defp act(_recorder, _at, sup, ["stop"]) do
    send(sup, {:system, {self(), make_ref()}, {:terminate, :shutdown}})
    {:done, "ok"}
  end

  # Its own supervisor asks it to exit, behind all that it has in its mailbox.
  defp act(recorder, at, sup, ["end from above"]) do
    above = Process.get(:above)[at]
    pid = Recorder.call(recorder, {:live, above})
    request = :gen_server.send_request(pid, {:terminate_child, if(dynamic?(above), do: sup, else: at)})
    await("the exit signal", fn -> exit_arrived?(sup, pid) end)
    {:asked, request}
  end

  defp act(recorder, at, sup, [operation | arguments]),
    do: {:asked, :gen_server.send_request(sup, request(recorder, dynamic?(at), operation, arguments))}

  defp request(recorder, true, "start_child", [child]) do
    %{start: start, restart: restart, shutdown: shutdown, type: type} = Sup.spec(child, recorder)
    {:start_child, {start, restart, shutdown, type, [Child]}}
  end

  defp request(recorder, false, "start_child", [child]), do: {:start_child, Sup.spec(child, recorder)}

  defp request(recorder, true, "terminate_child", [id]),
    do: {:terminate_child, Recorder.call(recorder, {:newest, id}) || self()}

  defp request(_, _, operation, [id]), do: {String.to_atom(operation), id}
  defp request(_, _, operation, []), do: String.to_atom(operation)

  # All below a killed supervisor end, too; each end is awaited.
  defp die(id, pid, how) do
    below = if how == "kill" and supervisor?(id), do: below(pid), else: []
    watches = Enum.map([pid | below], &Process.monitor/1)

    case how do
      "kill" ->
        Process.exit(pid, :kill)

      "stop" ->
        unless supervisor?(id), do: GenServer.call(pid, :dying, left())
        GenServer.stop(pid, if(supervisor?(id), do: :shutdown, else: :normal), left())

      "call" ->
        GenServer.call(pid, :dying, left())
        spawn(fn -> GenServer.call(pid, :crash, :infinity) end)

      _ ->
        send(pid, {:die, how})
    end

    for watch <- watches do
      receive(do: ({:DOWN, ^watch, _, _, _} -> :ok), after: (left() -> throw({:stuck, "die #{id} #{how}"})))
    end
  end

  defp below(pid) do
    Enum.flat_map(ask(pid, :which_children), fn
      {_, child, :supervisor, _} when is_pid(child) -> [child | below(child)]
      {_, child, _, _} -> List.wrap(if is_pid(child), do: child)
    end)
  end

  # A supervisor's id is a key of the scenario's table of them.
  defp supervisor?(id), do: Map.has_key?(Process.get(:dynamic), id)
  defp dynamic?(id), do: Map.fetch!(Process.get(:dynamic), id)

  defp exit_arrived?(sup, pid) do
    case Process.info(sup, :messages) do
      {:messages, messages} -> Enum.any?(messages, &match?({:EXIT, ^pid, _}, &1))
      nil -> true
    end
  end

  defp answer(_, _, _, {:done, word}), do: word

  defp answer(recorder, at, action, {:asked, request}) do
    case :gen_server.receive_response(request, left()) do
      {:reply, [{_, _, _, _} | _] = rows} -> rows(recorder, dynamic?(at), rows)
      {:reply, []} -> []
      {:reply, reply} when is_list(reply) or is_map_key(reply, :active) -> counts(reply)
      {:reply, {:error, {:already_started, pid}}} -> already_started(recorder, written(action), pid)
      {:reply, {:error, {{:already_started, pid}, _}}} -> already_started(recorder, written(action), pid)
      {:reply, reply} -> Words.answer(reply)
      {:error, _} -> Words.answer(:dead)
      :timeout -> throw({:stuck, "an answer"})
    end
  end

  # The child itself, or another one that has its name (OTP 25 tells them apart, later releases do not).
  defp already_started(recorder, [_, id], pid),
    do: if(Recorder.call(recorder, :ids)[pid] == id, do: "already started", else: "name taken")

  # --- what there is after a step, once all is quiet ------------------------------------------------------------------------

  defp observe(recorder) do
    found = quiet(recorder)
    lines = Recorder.call(recorder, :take)
    ids = Recorder.call(recorder, :ids)

    lines ++
      Enum.flat_map(Enum.sort_by(found, fn {sup, _, _} -> ids[sup] end), fn {sup, rows, counts} ->
        id = ids[sup]
        [["children", id, rows(recorder, dynamic?(id), rows)], ["counts", id, counts(counts)]]
      end)
  end

  # Quiet: each supervisor answers, none is between two attempts, and the live ones are those that the supervisors list.
  defp quiet(recorder) do
    top = Recorder.call(recorder, {:live, "top"})
    found = if top, do: walk(top), else: []
    listed = found && Enum.flat_map(found, fn {_, rows, _} -> for({_, pid, _, _} <- rows, is_pid(pid), do: pid) end)
    live = Recorder.call(recorder, :live)

    if found && Enum.sort(live) == Enum.sort(List.wrap(top) ++ listed) do
      found
    else
      if left() == 0, do: throw({:stuck, "quiet: #{inspect(Recorder.call(recorder, :live))} #{inspect(found)}"})
      receive(do: ({:never, _} -> :ok), after: (1 -> quiet(recorder)))
    end
  end

  # The supervisors from the top, each with its rows and counts; nil where that is changing.
  defp walk(sup) do
    rows = ask(sup, :which_children)
    counts = ask(sup, :count_children)

    if rows && counts && Enum.all?(rows, fn {_, pid, _, _} -> pid == :undefined or (is_pid(pid) and Process.alive?(pid)) end) do
      below = for {_, pid, :supervisor, _} <- rows, is_pid(pid), do: walk(pid)
      if Enum.all?(below), do: [{sup, rows, counts} | Enum.concat(below)]
    end
  end

  defp ask(sup, request) do
    GenServer.call(sup, request, max(left(), 1))
  catch
    :exit, {:timeout, _} -> throw({:stuck, to_string(request)})
    :exit, _ -> nil
  end

  defp rows(recorder, dynamic, rows) do
    ids = Recorder.call(recorder, :ids)

    Enum.map(rows, fn {id, pid, type, _} ->
      state = if(is_pid(pid), do: "running", else: if(pid == :restarting, do: "restarting", else: "stopped"))
      [if(dynamic, do: Map.get(ids, pid, "undefined"), else: id), state, to_string(type)]
    end)
  end

  defp counts(counts) do
    counts = Map.new(counts)
    [counts.specs, counts.active, counts.supervisors, counts.workers]
  end

  defp await(what, condition) do
    cond do
      condition.() -> :ok
      left() == 0 -> throw({:stuck, what})
      true -> receive(do: ({:never, _} -> :ok), after: (1 -> await(what, condition)))
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
  defp left, do: max(Process.get(:deadline) - now(), 0)
end

defmodule Main do
  def read do
    case IO.read(:stdio, :line) do
      :eof ->
        :ok

      line ->
        [number, text] = String.split(line, "\t", parts: 2)
        spawn(fn -> IO.write("#{number}\t#{json(play(text))}\n") end)
        read()
    end
  end

  defp play(text) do
    {:ok, tokens, _} = :erl_scan.string(String.to_charlist(text))
    {:ok, scenario} = :erl_parse.parse_term(tokens)
    Player.play(scenario)
  catch
    kind, what -> [["the player broke", Exception.format(kind, what, __STACKTRACE__)]]
  end

  # Lists of texts and numbers, written as Elixir does, are JSON.
  defp json(trace), do: inspect(trace, limit: :infinity, printable_limit: :infinity, width: :infinity, charlists: :as_lists)
end

{:ok, _} = Registry.start_link(keys: :unique, name: Names)
Main.read()
