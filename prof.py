import sys,os,time
sys.path.insert(0,'/tmp/l/tests/bench');sys.path.insert(0,'/tmp/l/tests/e2e')
import bench as B, argparse
kind=sys.argv[1]; n=int(sys.argv[2]); step=int(sys.argv[3])
o=argparse.Namespace(build=os.environ.get('BUILD','/tmp/l/build/release'),records=n,rounds=1,full=False,json=False)
b=B.Bench(o)
with b.deployment(kind) as d:
    rss,spent=B.run_capture(b,d,n)
    print(kind,n,'rate',round(B.rate_between(d,1,n)),'rss',rss,spent)
    if step:
        q=B.ask
        rows=[]
        import sqlite3,subprocess
        sql="SELECT (n/%d), min(captured_us), count(*) FROM (SELECT captured_us, row_number() OVER (ORDER BY pos)-1 AS n FROM record) r GROUP BY 1 ORDER BY 1"%step
        if kind=='embedded':
            db=sqlite3.connect(os.path.join(d.data,'mgccomp.db')); rows=db.execute(sql).fetchall()
        else:
            url=open(os.path.join(d.data,'mgccomp.url')).read().strip()
            out=subprocess.run(['psql','-XAtq','-F',' ',url,'-c',sql],capture_output=True,text=True).stdout
            rows=[tuple(map(int,l.split())) for l in out.splitlines()]
        print(' '.join('%d'%(step*1e6/(b_[1]-a[1])) for a,b_ in zip(rows,rows[1:])))
    sv='up' if kind=='embedded' else 'capture'
    print(os.popen("grep -h '^T ' %s/*.log %s/*/*.log 2>/dev/null | tail -12"%(d.dir,d.dir)).read())
    try: print('\n'.join([l for l in d.log(sv).splitlines() if l.startswith('T ')][-12:]))
    except Exception as x: print(x)
